#include "apps/prune/agreement.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace prune::app {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

bool agree(const std::vector<float>& expected, const std::vector<float>& actual) {
  return compare(expected, actual).is_within(0.02f);
}

TEST(Agreement, IsMeasuredAgainstTheLargestValue) {
  const Agreement agreement = compare(std::vector{1.0f, -100.0f}, std::vector{2.5f, -101.0f});
  EXPECT_EQ(agreement.largest, 100);
  EXPECT_EQ(agreement.error, 1.5f);
  EXPECT_TRUE(agreement.is_within(0.02f));
  EXPECT_FALSE(agreement.is_within(0.01f));
  EXPECT_TRUE(agree({0, 0}, {0, 0}));
  EXPECT_FALSE(agree({0, 0}, {0, 1}));
}

TEST(Agreement, NanHasToBeInTheSamePlaces) {
  EXPECT_TRUE(agree({kNan, 1}, {kNan, 1}));
  EXPECT_FALSE(agree({1, 1}, {kNan, kNan}));
  EXPECT_FALSE(agree({1, 1}, {1, kNan}));
  EXPECT_FALSE(agree({kNan, 1}, {1, 1}));
  EXPECT_FALSE(agree({kNan, 1}, {kInf, 1}));
}

TEST(Agreement, InfinitiesHaveToBeTheSame) {
  EXPECT_TRUE(agree({kInf, -kInf, 1}, {kInf, -kInf, 1}));
  EXPECT_FALSE(agree({kInf, 1}, {-kInf, 1}));
  EXPECT_FALSE(agree({kInf, 1}, {1, 1}));
  EXPECT_FALSE(agree({1, 1}, {kInf, 1}));
}

// One infinite value must not make every other one right.
TEST(Agreement, FiniteValuesAreComparedBesideInfinities) {
  EXPECT_FALSE(agree({kInf, 1}, {kInf, 2}));
  EXPECT_FALSE(agree({kNan, 1}, {kNan, 2}));
}

}  // namespace
}  // namespace prune::app
