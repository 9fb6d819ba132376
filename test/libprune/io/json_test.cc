#include "libprune/io/json.h"
#include "libprune/io/json_edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "prune/error.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

using ::testing::HasSubstr;
using testing::TempFolder;
using testing::write_file;

std::string refusal(const std::string& text) {
  try {
    parse_json(text, "file");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  return "accepted";
}

TEST(ParseJson, builds_the_tree_that_the_plain_parser_builds) {
  const std::string text =
      R"( {"a":[1,-2,3.5,true,false,null,"x\u00e9\n",[],{}],"b":{"c":[{"d":[[0]]},18446744073709551615]},"":""} )";
  EXPECT_EQ(parse_json(text, "file"), nlohmann::json::parse(text));
}

TEST(ParseJson, takes_bare_values) {
  EXPECT_EQ(parse_json("17", "file"), 17);
  EXPECT_EQ(parse_json("null", "file"), nullptr);
}

TEST(ParseJson, nests_to_the_limit) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(parse_json(nested(kMaxJsonDepth), "file").is_array());
  EXPECT_EQ(refusal(nested(kMaxJsonDepth + 1)), "file: JSON nested more than 128 levels deep");
}

TEST(ParseJson, survives_fifty_megabytes_of_brackets) {
  EXPECT_THAT(refusal(std::string(50'000'000, '[')), HasSubstr("levels deep"));
}

TEST(ParseJson, bounds_the_number_of_values) {
  std::string text = "[0";
  for (size_t i = 0; i < kMaxJsonValues; ++i) text += ",0";
  EXPECT_EQ(refusal(text + "]"), "file: more than 10000000 JSON values");
}

TEST(ParseJson, counts_lines_and_columns_from_one) {
  EXPECT_EQ(refusal("{\n  \"a\": 1,\n  \"b\": ]\n}"), "file: not JSON at line 3, column 8 (byte 20)");
  EXPECT_EQ(refusal("{\"a\":"), "file: not JSON at line 1, column 6 (byte 6)");
}

TEST(ParseJson, refuses_a_key_twice_at_any_depth_but_not_in_two_objects) {
  EXPECT_EQ(refusal(R"([{"x":{"k":1,"k":1}}])"), "file: key 'k' appears twice in one object");
  EXPECT_EQ(refusal(R"([{"k":1},{"k":1},{"x":{"k":1}}])"), "accepted");
}

TEST(ReadJsonFile, names_the_file) {
  const TempFolder folder;
  write_file(folder / "good.json", R"({"a":1})");
  write_file(folder / "bad.json", "{");
  EXPECT_EQ(read_json_file(folder / "good.json")["a"], 1);
  try {
    read_json_file(folder / "bad.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              (folder / "bad.json").native() + ": not JSON at line 1, column 2 (byte 2)");
  }
}

TEST(EditJson, ChangesValuesAndNothingElse) {
  const std::string text = R"({ "a\"b" :[ {"n": [1, "}"]}, 2 ],"x":1.0e-06,
  "n": "\\","list":[1,
    2]  } )";
  EXPECT_EQ(edit_json(text, {}, "here"), text);
  EXPECT_EQ(edit_json(text, {{"x", 7}}, "here"), R"({ "a\"b" :[ {"n": [1, "}"]}, 2 ],"x":7,
  "n": "\\","list":[1,
    2]  } )");
  EXPECT_EQ(edit_json(text, {{"a\"b", nullptr}, {"n", true}}, "here"), R"({ "a\"b" :null,"x":1.0e-06,
  "n": true,"list":[1,
    2]  } )");
  EXPECT_EQ(edit_json("{\n  \"l\": [\n    1\n  ]\n}\n", {{"l", {1, 2}}, {"new", "\"é"}}, "here"),
            "{\n  \"l\": [\n    1,\n    2\n  ],\n  \"new\": \"\\\"\\u00e9\"\n}\n");
  EXPECT_EQ(edit_json(" {} ", {{"k", 1}}, "here"), R"( {"k": 1} )");
}

TEST(EditJson, RefusesWhatIsNoObject) {
  for (const char* text : {"[1]", "{", "", "{\"a\": 1, \"a\": 2}", "{\"a\": 01}"})
    EXPECT_THROW(edit_json(text, {{"a", 1}}, "here"), Error) << text;
}

}  // namespace
}  // namespace prune
