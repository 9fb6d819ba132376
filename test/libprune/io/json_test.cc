#include "libprune/io/json.h"
#include "libprune/io/json_document.h"
#include "libprune/io/json_edit.h"
#include "libprune/io/name_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clocale>
#include <functional>
#include <random>
#include <string>
#include <vector>

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

// Whether a value holds what a tree does.
bool is_same(const JsonValue& value, const nlohmann::json& tree) {
  if (value.is_unsigned()) return tree.is_number_unsigned() && value.number() == tree.get<uint64_t>();
  if (value.is_string()) return tree.is_string() && value.text() == tree.get<std::string>();
  if (!value.is_array() && !value.is_object()) {
    const JsonKind kind = tree.is_null()             ? JsonKind::kNull
                          : tree.is_boolean()        ? JsonKind::kBoolean
                          : tree.is_number_integer() ? JsonKind::kInteger
                                                     : JsonKind::kFloat;
    return tree.is_primitive() && value.kind() == kind;
  }
  if (value.is_array() != tree.is_array() || value.size() != tree.size()) return false;
  size_t place = 0;
  for (const JsonValue& inner : value) {
    if (value.is_array() ? !is_same(inner, tree[place++])
                         : !tree.contains(inner.key()) || !is_same(inner, tree[std::string(inner.key())]))
      return false;
  }
  return true;
}

// The library's parser is another implementation: what it takes, and what it makes of it.
TEST(ParseJson, agrees_with_the_plain_parser_on_any_text) {
  const std::string seeds[] = {
      R"({"a":[1,-2,3.5,true,false,null,"x\u00e9\n",[],{}],"b":{"c":[{"d":[[0]]},18446744073709551615]},"":""})",
      R"([-0, 0.0, -0.5e-3, 1E+2, 1e400, 1e-400, 18446744073709551616, -9223372036854775808, -9223372036854775809])",
      R"(["\ud83d\ude00", "\ud83d", "\ude00", "\u0000\/\b\f\r\t\"\\", "\uD83Dx", "\u00e", "é日😀", "\x"])",
      R"( { "k" : "v" , "long": "0123456789abcdef0123456789abcdef" } )",
      "01",
      "-",
      "1.",
      "[1,]",
      "{\"a\" 1}",
      "nul"};
  const std::string characters = "{}[]\",:\\u019dDeE+-.tfnb/ \n\x01\x7f";
  std::mt19937 rng;
  int taken = 0, refused = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string text = seeds[rng() % std::size(seeds)];
    for (size_t edits = rng() % 4; edits > 0 && !text.empty(); --edits) {
      const size_t at = rng() % text.size();
      const char c = characters[rng() % characters.size()];
      switch (rng() % 4) {
        case 0:
          text.erase(at, 1);
          break;
        case 1:
          text.insert(at, 1, c);
          break;
        case 2:
          text.resize(at);
          break;
        default:
          text[at] = c;
      }
    }
    const std::string said = refusal(text);
    if (said.find("appears twice") != said.npos || said.find("not UTF-8") != said.npos) continue;
    if (!nlohmann::json::accept(text)) {
      EXPECT_TRUE(said.starts_with("file: not JSON at line ") || said.starts_with("file: JSON number beyond"))
          << text;
      EXPECT_THROW(JsonDocument(text, "file"), Error) << text;
      ++refused;
      continue;
    }
    const nlohmann::json tree = nlohmann::json::parse(text);
    ASSERT_EQ(said, "accepted") << text;
    EXPECT_EQ(parse_json(text, "file"), tree) << text;
    EXPECT_TRUE(is_same(JsonDocument(text, "file").root(), tree)) << text;
    ++taken;
  }
  EXPECT_GT(taken, 2000);
  EXPECT_GT(refused, 2000);
}

TEST(JsonDocument, RefusesWhatTheTreeRefuses) {
  const auto said = [](const std::string& text) {
    try {
      const JsonDocument document(text, "file");
      return std::string("accepted");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      return std::string(error.what());
    }
  };
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += "\"k" + std::to_string(i) + "\":[" + std::to_string(i) + "],";
  EXPECT_EQ(said(many + "\"k99\":{}}"), "file: key 'k99' appears twice in one object");
  EXPECT_EQ(said(R"([{"x":{"k":1,"k":1}}])"), "file: key 'k' appears twice in one object");
  EXPECT_EQ(said(R"({"\u006b":1,"k":1})"), "file: key 'k' appears twice in one object");
  EXPECT_EQ(said(R"([{"k":1},{"k":1},{"x":{"k":1}}])"), "accepted");
  EXPECT_EQ(said(std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']')), "accepted");
  EXPECT_EQ(said(std::string(kMaxJsonDepth + 1, '[')), "file: JSON nested more than 128 levels deep");
  EXPECT_EQ(said("{\n  \"a\": 1,\n  \"b\": ]\n}"), "file: not JSON at line 3, column 8 (byte 20)");
  std::string text = "[0";
  for (size_t i = 0; i < kMaxJsonValues; ++i) text += ",0";
  EXPECT_EQ(said(text + "]"), "file: more than 10000000 JSON values");
}

TEST(NameTable, FindsWhatWasPutIn) {
  const size_t count = 1000;
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back("layers." + std::to_string(i) + ".weight");
  NameTable<size_t> table(3);  // grows
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(table.insert(names[i], i), nullptr);
  EXPECT_EQ(*table.insert(names[7], 8), 7U);
  EXPECT_EQ(table.size(), count);
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(*table.find(names[i]), i);
  EXPECT_EQ(table.find("layers.1000.weight"), nullptr);
  EXPECT_EQ(table.find(""), nullptr);
}

TEST(NameTable, HasAFreePlaceFromTheFirstNameOn) {
  NameTable<int> table;
  EXPECT_EQ(table.find("a"), nullptr);
  EXPECT_EQ(table.insert("a", 1), nullptr);
  EXPECT_EQ(table.find("b"), nullptr);
  EXPECT_EQ(table.insert("b", 2), nullptr);
  EXPECT_EQ(table.find("c"), nullptr);
  EXPECT_EQ(*table.find("b"), 2);
}

// Each would otherwise be looked for behind all before it, and a file may have millions.
TEST(NameTable, RefusesNamesThatWereMadeToMeet) {
  const size_t count = 300, mask = 0x3FF;  // a table of 300 names has 1024 places
  std::vector<std::string> names;
  for (size_t i = 0; names.size() < count; ++i) {
    std::string name = std::to_string(i);
    if ((std::hash<std::string_view>()(name) & mask) == 0) names.push_back(std::move(name));
  }
  NameTable<int> table(count);
  const auto insert_all = [&] {
    for (const std::string& name : names) table.insert(name, 0);
  };
  EXPECT_THROW(insert_all(), Error);
  EXPECT_GT(table.size(), 200U);
}

TEST(ParseJson, ReadsNumbersAsTheyAreSpelledInAnyLocale) {
  if (std::setlocale(LC_NUMERIC, "de_DE.UTF-8") == nullptr) GTEST_SKIP() << "no locale de_DE.UTF-8 here";
  const std::string said = refusal("[1.5e400]");
  const nlohmann::json small = parse_json("[1.5e-400]", "file");
  std::setlocale(LC_NUMERIC, "C");
  EXPECT_TRUE(said.starts_with("file: JSON number beyond")) << said;
  EXPECT_EQ(small[0], 0.0);
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
