#include "libprune/io/dtype.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace prune {
namespace {

struct Expected {
  std::string name;
  DType dtype;
  int bits;
  bool prunable;
};

const std::vector<Expected> kExpected = {
    {"BOOL", DType::kBool, 8, false},
    {"F4", DType::kF4, 4, false},
    {"F6_E2M3", DType::kF6E2M3, 6, false},
    {"F6_E3M2", DType::kF6E3M2, 6, false},
    {"U8", DType::kU8, 8, false},
    {"I8", DType::kI8, 8, false},
    {"F8_E5M2", DType::kF8E5M2, 8, true},
    {"F8_E4M3", DType::kF8E4M3, 8, true},
    {"F8_E8M0", DType::kF8E8M0, 8, false},
    {"F8_E4M3FNUZ", DType::kF8E4M3FNUZ, 8, false},
    {"F8_E5M2FNUZ", DType::kF8E5M2FNUZ, 8, false},
    {"I16", DType::kI16, 16, false},
    {"U16", DType::kU16, 16, false},
    {"F16", DType::kF16, 16, true},
    {"BF16", DType::kBF16, 16, true},
    {"I32", DType::kI32, 32, false},
    {"U32", DType::kU32, 32, false},
    {"F32", DType::kF32, 32, true},
    {"C64", DType::kC64, 64, false},
    {"F64", DType::kF64, 64, true},
    {"I64", DType::kI64, 64, false},
    {"U64", DType::kU64, 64, false},
};

TEST(DType, knows_every_type_of_the_format) {
  for (const Expected& e : kExpected) {
    EXPECT_EQ(parse_dtype(e.name), e.dtype) << e.name;
    EXPECT_EQ(name(e.dtype), e.name);
    EXPECT_EQ(bits(e.dtype), e.bits) << e.name;
    EXPECT_EQ(is_prunable(e.dtype), e.prunable) << e.name;
  }
}

TEST(DType, takes_no_other_spelling) {
  for (const char* wrong : {"", "f32", "float32", "F32 ", " F32", "F8_E4M3FN", "F", "BF161"}) {
    EXPECT_EQ(parse_dtype(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace prune
