#include "apps/prune/run_statistics.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

namespace prune::app {
namespace {

// P(U <= u) by going through every choice of which ranks the new values take.
double by_enumeration(int n, int m, int u) {
  int all = 0, within = 0;
  for (unsigned chosen = 0; chosen < 1u << (n + m); ++chosen) {
    if (std::popcount(chosen) != n) continue;
    int wins = 0;
    for (int i = 0; i < n + m; ++i) {
      if ((chosen >> i & 1) != 0) wins += std::popcount(~chosen & ((1u << i) - 1));
    }
    ++all;
    within += wins <= u;
  }
  return double(within) / all;
}

// Samples of n new and m old values in which the new win exactly u of the pairs.
RankComparison with_wins(int n, int m, int u) {
  std::vector<double> before, after;
  for (int j = 0; j < m; ++j) before.push_back(10 + j);
  for (int i = 0; i < n; ++i) {
    const int wins = std::min(u, m);
    u -= wins;
    after.push_back(9.5 + wins + 0.001 * i);
  }
  return compare_ranks(before, after);
}

TEST(CompareRanks, HasTheProbabilitiesThatEnumerationGives) {
  for (const auto& [n, m] : {std::pair(1, 1), {3, 3}, {5, 4}, {2, 7}, {6, 6}}) {
    for (int u = 0; u <= n * m; ++u) {
      EXPECT_NEAR(with_wins(n, m, u).p_lower, by_enumeration(n, m, u), 1e-12) << n << " " << m << " " << u;
      EXPECT_NEAR(with_wins(n, m, u).p_higher, by_enumeration(n, m, n * m - u), 1e-12);
    }
  }
}

// Beyond kExactRanks the normal approximation takes over without a jump.
TEST(CompareRanks, ApproximatesLargeSamplesWell) {
  const int n = kExactRanks, u = n * n / 3;
  EXPECT_NEAR(with_wins(n + 1, n + 1, (n + 1) * (n + 1) / 3).p_lower, with_wins(n, n, u).p_lower, 0.01);
  EXPECT_NEAR(with_wins(100, 100, 5000).p_lower, 0.5, 0.01);
}

TEST(CompareRanks, TiesCountAgainstADifference) {
  const RankComparison same = compare_ranks({2, 2, 2, 2, 2, 2}, {2, 2, 2, 2, 2, 2});
  EXPECT_EQ(same.p_lower, 1);
  EXPECT_EQ(same.p_higher, 1);
  EXPECT_EQ(same.ratio, 1);
}

TEST(CompareRanks, IntervalsAreOfPairs) {
  // Twelve values a side: P(U <= 27) <= 0.005 < P(U <= 28) in the tables of the test.
  std::vector<double> before, after;
  for (int i = 0; i < 12; ++i) {
    before.push_back(100);
    after.push_back(90 + i);
  }
  const RankComparison c = compare_ranks(before, after);
  EXPECT_DOUBLE_EQ(c.ratio, 0.955);
  EXPECT_DOUBLE_EQ(c.low, 0.92);  // the 28th of 144 ratios, twelve of each value
  EXPECT_DOUBLE_EQ(c.high, 0.99);
  EXPECT_TRUE(std::isinf(compare_ranks({1, 1}, {2, 2}).high));
  EXPECT_EQ(compare_ranks({1, 1}, {2, 2}).low, 0);
}

TEST(MedianInterval, LiesBetweenOrderStatistics) {
  // Known: of 10 values the 2nd and the 9th enclose the median with 97.9%, of 20 the 6th and 15th with 95.9%.
  std::vector<double> values;
  for (int i = 10; i >= 1; --i) values.push_back(i);
  const MedianInterval ten = median_interval(values);
  EXPECT_EQ(ten.median, 5.5);
  EXPECT_EQ(ten.low, 2);
  EXPECT_EQ(ten.high, 9);
  EXPECT_NEAR(ten.confidence, 0.979, 5e-4);
  for (int i = 11; i <= 20; ++i) values.push_back(i);
  const MedianInterval twenty = median_interval(values);
  EXPECT_EQ(twenty.low, 6);
  EXPECT_EQ(twenty.high, 15);
  EXPECT_NEAR(twenty.confidence, 0.959, 5e-4);
}

TEST(MedianInterval, SaysHowLittleFewValuesTell) {
  const MedianInterval one = median_interval({3});
  EXPECT_EQ(one.low, 3);
  EXPECT_EQ(one.high, 3);
  EXPECT_NEAR(one.confidence, 0, 1e-12);
  const MedianInterval three = median_interval({3, 1, 2});
  EXPECT_EQ(three.low, 1);
  EXPECT_EQ(three.high, 3);
  EXPECT_NEAR(three.confidence, 0.75, 1e-12);
}

TEST(MedianInterval, TakesMoreValuesThanPowersOfTwoHaveExponents) {
  std::vector<double> values;
  for (int i = 1; i <= 2000; ++i) values.push_back(i);
  const MedianInterval many = median_interval(values);
  EXPECT_NEAR(many.low, 1000 - 0.98 * std::sqrt(2000), 2);
  EXPECT_NEAR(many.high, 1001 + 0.98 * std::sqrt(2000), 2);
  EXPECT_GE(many.confidence, 0.95);
}

TEST(LeastP, IsOneOverTheWaysToChoose) {
  EXPECT_NEAR(least_p(5, 5), 1.0 / 252, 1e-12);
  EXPECT_NEAR(least_p(10, 10), 1.0 / 184756, 1e-15);
}

TEST(Holm, MultipliesByTheTestsThatAreLeftAndKeepsTheOrder) {
  const std::vector<double> adjusted = holm({0.01, 0.04, 0.03, 0.005, 0.9});
  const std::vector<double> expected = {0.04, 0.09, 0.09, 0.025, 0.9};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(adjusted[i], expected[i], 1e-12) << i;
  EXPECT_TRUE(holm({}).empty());
}

}  // namespace
}  // namespace prune::app
