#include "libprune/io/token_ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "prune/error.h"
#include "test/libprune/io/npy_files.h"

namespace prune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::little_endian;
using testing::npy;
using testing::safetensors;

class TokenIds : public ::testing::Test {
 protected:
  std::vector<int32_t> read(const std::string& name, const std::string& bytes) {
    testing::write_file(folder_ / name, bytes);
    return read_token_ids(folder_ / name);
  }

  std::string refusal(const std::string& name, const std::string& bytes) {
    try {
      read(name, bytes);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_THAT(error.what(), HasSubstr(name));
      return error.what();
    }
    return "not refused";
  }

  testing::TempFolder folder_;
};

TEST_F(TokenIds, ReadsEveryIntegerTypeOfNpy) {
  EXPECT_THAT(read("a.npy", npy("|i1", "(3,)", "\x01\x7F\x02")), ElementsAre(1, 127, 2));
  EXPECT_THAT(read("a.npy", npy("|u1", "(2,)", "\x01\xFF")), ElementsAre(1, 255));
  EXPECT_THAT(read("a.npy", npy("<i2", "(2,)", std::string("\x01\x00\xFF\x7F", 4))), ElementsAre(1, 32767));
  EXPECT_THAT(read("a.npy", npy("<u2", "(2,)", std::string("\x01\x00\xFF\xFF", 4))), ElementsAre(1, 65535));
  const std::string wide = little_endian(0x7FFFFFFF) + little_endian(258);
  EXPECT_THAT(read("a.npy", npy("<i4", "(4,)", wide)), ElementsAre(0x7FFFFFFF, 0, 258, 0));
  EXPECT_THAT(read("a.npy", npy("<u4", "(4,)", wide)), ElementsAre(0x7FFFFFFF, 0, 258, 0));
  EXPECT_THAT(read("a.npy", npy("<i8", "(2,)", wide)), ElementsAre(0x7FFFFFFF, 258));
  EXPECT_THAT(read("a.npy", npy("<u8", "(2,)", wide)), ElementsAre(0x7FFFFFFF, 258));
  EXPECT_THAT(read("a.npy", npy("<u8", "(0,)", "")), IsEmpty());
}

TEST_F(TokenIds, ReadsSafetensors) {
  const std::string only = R"({"ids":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_THAT(read("a.safetensors", safetensors(only, std::string("\x01\0\0\0\x02\x01\0\0", 8))),
              ElementsAre(1, 258));
  const std::string named = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                            R"("input_ids":{"dtype":"U8","shape":[2,2],"data_offsets":[4,8]}})";
  EXPECT_THAT(read("a.safetensors", safetensors(named, "abcd\x01\x02\x03\x04")), ElementsAre(1, 2, 3, 4));
}

TEST_F(TokenIds, RefusesValuesThatAreNoIds) {
  EXPECT_THAT(refusal("a.npy", npy("|i1", "(2,)", "\x01\xFF")), HasSubstr("element 1 is -1"));
  EXPECT_THAT(refusal("a.npy", npy("<i8", "(1,)", little_endian(0x80000000))),
              HasSubstr("element 0 is 2147483648"));
  EXPECT_THAT(refusal("a.npy", npy("<u8", "(1,)", little_endian(~uint64_t{0}))),
              HasSubstr("element 0 is 18446744073709551615"));
}

TEST_F(TokenIds, RefusesOtherArrays) {
  EXPECT_THAT(refusal("a.npy", npy("|u1", "()", "a")), HasSubstr("an array of 0 dimensions"));
  EXPECT_THAT(refusal("a.npy", npy("|u1", "(1, 1)", "a")), HasSubstr("an array of 2 dimensions"));
  EXPECT_THAT(refusal("a.safetensors",
                      safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "abcd")),
              HasSubstr("tensor 'a': F32 elements"));
  EXPECT_THAT(refusal("a.safetensors",
                      safetensors(R"({"a":{"dtype":"U8","shape":[1,1,1],"data_offsets":[0,1]}})", "a")),
              HasSubstr("tensor 'a' has 3 dimensions"));
  EXPECT_THAT(refusal("a.safetensors", safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                                   R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                                   "ab")),
              HasSubstr("has 2 tensors, none of them named input_ids"));
  EXPECT_THAT(refusal("a.bin", "abc"), HasSubstr("read from .npy and .safetensors files"));
}

TEST(CheckTokenIds, NamesTheFirstIdBeyondTheVocabulary) {
  const std::vector<int32_t> ids{0, 4, 5, 6};
  EXPECT_NO_THROW(check_token_ids(ids, 7, "ids.npy"));
  try {
    check_token_ids(ids, 5, "ids.npy");
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_THAT(error.what(), HasSubstr("ids.npy: token 2 has id 5, the model's vocabulary has 5 entries"));
  }
}

}  // namespace
}  // namespace prune
