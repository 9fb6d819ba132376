#include <prune/float8.h>

#include <cmath>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

// The tables 1 and 2 of arXiv 2209.05433.
TEST(Float8, MatchesTheTablesOfThePaper) {
  EXPECT_EQ(float(f8_e4m3{0b0'1111'110}), 448.0f);
  EXPECT_EQ(float(f8_e4m3{0b1'1111'110}), -448.0f);
  EXPECT_EQ(float(f8_e4m3{0b0'0001'000}), std::ldexp(1.0f, -6));
  EXPECT_EQ(float(f8_e4m3{0b0'0000'111}), std::ldexp(0.875f, -6));
  EXPECT_EQ(float(f8_e4m3{0b0'0000'001}), std::ldexp(1.0f, -9));
  EXPECT_EQ(float(f8_e4m3{0b0'0111'000}), 1.0f);
  EXPECT_EQ(float(f8_e4m3{0b0'1111'000}), 256.0f);
  EXPECT_TRUE(std::isnan(float(f8_e4m3{0b0'1111'111})));
  EXPECT_TRUE(std::isnan(float(f8_e4m3{0b1'1111'111})));

  EXPECT_EQ(float(f8_e5m2{0b0'11110'11}), 57344.0f);
  EXPECT_EQ(float(f8_e5m2{0b1'11110'11}), -57344.0f);
  EXPECT_EQ(float(f8_e5m2{0b0'00001'00}), std::ldexp(1.0f, -14));
  EXPECT_EQ(float(f8_e5m2{0b0'00000'11}), std::ldexp(0.75f, -14));
  EXPECT_EQ(float(f8_e5m2{0b0'00000'01}), std::ldexp(1.0f, -16));
  EXPECT_EQ(float(f8_e5m2{0b0'01111'00}), 1.0f);
  EXPECT_EQ(float(f8_e5m2{0b0'11111'00}), INFINITY);
  EXPECT_EQ(float(f8_e5m2{0b1'11111'00}), -INFINITY);
  for (const unsigned mantissa : {1u, 2u, 3u}) {
    EXPECT_TRUE(std::isnan(float(f8_e5m2{uint8_t(0b0'11111'00 | mantissa)})));
    EXPECT_TRUE(std::isnan(float(f8_e5m2{uint8_t(0b1'11111'00 | mantissa)})));
  }
}

template <class T>
void expect_all_patterns_decode() {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const T value{uint8_t(bits)};
    const double expected = testing::value_of(value);
    const float decoded = float(value);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(decoded)) << bits;
    } else {
      EXPECT_EQ(decoded, expected) << bits;
      EXPECT_EQ(std::signbit(decoded), std::signbit(expected)) << bits;
    }
  }
}

TEST(Float8, AllPatternsOfE4m3) { expect_all_patterns_decode<f8_e4m3>(); }
TEST(Float8, AllPatternsOfE5m2) { expect_all_patterns_decode<f8_e5m2>(); }

}  // namespace
}  // namespace prune
