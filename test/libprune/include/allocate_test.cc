#include <prune/allocate.h>

#include <cmath>
#include <functional>

#include "test/libprune/include/values.h"

namespace prune::allocate {
namespace {

using testing::refusal;

std::vector<int64_t> pruned_counts(const std::vector<int64_t>& sizes, const std::vector<double>& sparsities) {
  std::vector<int64_t> counts;
  for (size_t i = 0; i < sizes.size(); ++i) counts.push_back(sizes[i] - kept_count(sizes[i], sparsities[i]));
  return counts;
}

int64_t sum(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t(0));
}

using Counts = std::vector<int64_t>;

TEST(Allocate, UniformIsExactInTheSum) {
  EXPECT_EQ(pruned_counts({10, 10, 10}, uniform({10, 10, 10}, 0.5)), (Counts{5, 5, 5}));
  // 33 * 0.5 = 16.5: 16 go. 1.5, 5.5, 9.5: the first remainder gets the one that is left.
  EXPECT_EQ(pruned_counts({3, 11, 19}, uniform({3, 11, 19}, 0.5)), (Counts{2, 5, 9}));
  std::mt19937 rng(testing::test_seed());
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> sizes;
    for (size_t i = 0; i < 1 + rng() % 8; ++i) sizes.push_back(100 + int64_t(rng() % 1000000));
    const double sparsity = double(rng() % 990) / 1000;
    const auto counts = pruned_counts(sizes, uniform(sizes, sparsity));
    ASSERT_EQ(sum(counts), sum(sizes) - kept_count(sum(sizes), sparsity));
    for (size_t i = 0; i < sizes.size(); ++i) {
      ASSERT_LT(std::abs(double(counts[i]) - sparsity * double(sizes[i])), 2);
    }
  }
}

// Where pruned / size comes out below: 90 * (63 / 90) is 62.99999999999999 or 63, and each count must be met.
TEST(Allocate, EverySparsityCountsAsItShould) {
  for (int64_t size = 1; size < 300; ++size) {
    for (int64_t pruned = 0; pruned < size; ++pruned) {
      const double sparsity = detail::sparsity_of(pruned, size);
      ASSERT_EQ(size - kept_count(size, sparsity), pruned) << size;
      ASSERT_LT(sparsity, 1);
    }
  }
}

// Shares .01 .02 .05 stretch to 0 .04 .16; their mean is 1/15: s = .7 + 1/15 - r.
TEST(Allocate, OwlKeepsMoreWhereOutliersAre) {
  const std::vector<int64_t> sizes = {3000, 3000, 3000};
  EXPECT_EQ(pruned_counts(sizes, owl(sizes, {0.01, 0.02, 0.05}, 0.7)), (Counts{2300, 2180, 1820}));
  EXPECT_EQ(pruned_counts(sizes, owl(sizes, {0.3, 0.3, 0.3}, 0.7)), (Counts{2100, 2100, 2100}));
  EXPECT_EQ(pruned_counts(sizes, owl(sizes, {0.01, 0.02, 0.05}, 0.7, 0)), (Counts{2100, 2100, 2100}));
  // Sizes weigh: r = 0 and .16, their mean .04: s = .54 and .38.
  EXPECT_EQ(pruned_counts({3000, 1000}, owl({3000, 1000}, {0, 1}, 0.5)), (Counts{1620, 380}));
  // .95 + .08 would be more than all: all but one go, and the other gives the rest.
  EXPECT_EQ(pruned_counts({1000, 1000}, owl({1000, 1000}, {0, 1}, 0.95)), (Counts{999, 901}));
}

TEST(Allocate, OutliersAreFarAboveTheMean) {
  Matrix<float> a = Matrix<float>::Ones(4, 6);
  const Matrix<float> b = Matrix<float>::Ones(2, 5);
  EXPECT_EQ(outlier_share({view(a), view(b)}), 0);
  a(2, 3) = 30;  // mean 63 / 34; five times that is 9.26
  a(0, 0) = 10;  // mean 72 / 34; 10.6
  EXPECT_DOUBLE_EQ(outlier_share({view(a), view(b)}), 1.0 / 34);
  EXPECT_DOUBLE_EQ(outlier_share({view(a), view(b)}, 4), 2.0 / 34);
  EXPECT_EQ(outlier_share({}), 0);
  a(1, 5) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "scores: NaN at row 1, column 5", [&] { outlier_share({view(a)}); }),
            "");
}

// 100 weights each. Of the first a weight costs .02, from 50 on .1; of the second .0375 up to 80, since its
// point at 50 is above the line.
TEST(Allocate, ByErrorTakesTheCheapestFirst) {
  const std::vector<int64_t> sizes = {100, 100};
  const std::vector<std::vector<ErrorAt>> curves = {{{0.5, 1}, {0.8, 4}}, {{0.5, 2}, {0.8, 3}}};
  EXPECT_EQ(pruned_counts(sizes, by_error(sizes, curves, 0.2)), (Counts{40, 0}));
  EXPECT_EQ(pruned_counts(sizes, by_error(sizes, curves, 0.5)), (Counts{50, 50}));
  EXPECT_EQ(pruned_counts(sizes, by_error(sizes, curves, 0.7)), (Counts{60, 80}));
  EXPECT_EQ(pruned_counts(sizes, by_error(sizes, curves, 0.8)), (Counts{80, 80}));
  EXPECT_EQ(refusal(ErrorKind::kUsage, "end before sparsity 0.85", [&] { by_error(sizes, curves, 0.85); }),
            "");
  // Equal ones share.
  EXPECT_EQ(pruned_counts({100, 200}, by_error({100, 200}, {{{0.9, 3}}, {{0.9, 6}}}, 0.5)),
            (Counts{50, 100}));
}

// Against every way to share 3 small matrices out, on convex curves.
TEST(Allocate, ByErrorIsOptimal) {
  std::mt19937 rng(testing::test_seed());
  const std::vector<int64_t> sizes = {8, 12, 16};
  for (int round = 0; round < 50; ++round) {
    std::vector<std::vector<ErrorAt>> curves(3);
    for (auto& curve : curves) {
      double slope = 0;
      double error = 0;
      for (const double sparsity : {0.25, 0.5, 0.75}) {
        slope += double(1 + rng() % 5);
        error += slope;
        curve.push_back({sparsity, error});
      }
    }
    const auto error_of = [&](size_t i, int64_t pruned) {
      const double at = double(pruned) / double(sizes[i]);
      ErrorAt before;
      for (const ErrorAt& next : curves[i]) {
        if (at <= next.sparsity) {
          return before.error +
                 (next.error - before.error) * (at - before.sparsity) / (next.sparsity - before.sparsity);
        }
        before = next;
      }
      return double(INFINITY);
    };
    const double sparsity = 0.05 * double(1 + rng() % 14);
    const int64_t total = 36 - kept_count(36, sparsity);
    double least = INFINITY;
    for (int64_t a = 0; a <= 8; ++a) {
      for (int64_t b = 0; b <= 12 && a + b <= total; ++b) {
        if (total - a - b > 16) continue;
        least = std::min(least, error_of(0, a) + error_of(1, b) + error_of(2, total - a - b));
      }
    }
    const Counts counts = pruned_counts(sizes, by_error(sizes, curves, sparsity));
    ASSERT_EQ(sum(counts), total);
    ASSERT_NEAR(error_of(0, counts[0]) + error_of(1, counts[1]) + error_of(2, counts[2]), least, 1e-9);
  }
}

TEST(Allocate, RefusesWhatCantBeSharedOut) {
  EXPECT_EQ(refusal(ErrorKind::kUsage, "sparsity 1", [] { uniform({10, 10}, 1); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "fewer weights than matrices", [] { uniform({4, 4}, 0.9); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "-1 weights", [] { uniform({4, -1}, 0.5); }), "");
  EXPECT_TRUE(uniform({}, 0.5).empty());
  EXPECT_EQ(uniform({0, 4}, 0.5), (std::vector<double>{0, 0.5}));
  EXPECT_EQ(refusal(ErrorKind::kUsage, "one outlier share", [] { owl({4, 4}, {0.5}, 0.5); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "lambda", [] { owl({4}, {0.5}, 0.5, 0.6); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "within [0, 1]", [] { owl({4}, {NAN}, 0.5); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "errors of each", [] { by_error({4}, {}, 0.5); }), "");
  for (const std::vector<ErrorAt>& curve :
       {std::vector<ErrorAt>{{0.5, 1}, {0.4, 2}}, {{0.5, -1}}, {{1, 1}}, {{0.5, NAN}}, {{NAN, 1}}}) {
    EXPECT_EQ(refusal(ErrorKind::kUsage, "errors of matrix 0", [&] { by_error({40}, {curve}, 0.5); }), "");
  }
}

}  // namespace
}  // namespace prune::allocate
