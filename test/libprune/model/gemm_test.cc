#include "libprune/model/gemm.h"

#include <cmath>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <Eigen/Core>

#include "libprune/model/bf16.h"

namespace prune {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;

std::vector<float> random_floats(int64_t count) {
  static std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& value : x) value = normal(random);
  return x;
}

double stored(float value, bool is_rounded) {
  return is_rounded ? double(float(Eigen::bfloat16(value))) : double(value);
}

void check(const Gemm& g) {
  const bool is_rounded = g.precision == Precision::kBf16 && has_bf16_products();
  const bool ta = g.transpose_a == Transpose::kYes, tb = g.transpose_b == Transpose::kYes;
  const int64_t lda = (ta ? g.m : g.k) + 3, ldb = (tb ? g.k : g.n) + 1, ldc = g.n + 2;
  const auto a = random_floats((ta ? g.k : g.m) * lda), b = random_floats((tb ? g.n : g.k) * ldb);
  const auto before = random_floats(g.m * ldc);
  std::vector<float> c = before;
  gemm(g, a.data(), lda, b.data(), ldb, c.data(), ldc);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      const auto at = size_t(i * ldc + j);
      if (j >= g.n) {
        ASSERT_EQ(c[at], before[at]) << "beyond the row";
        continue;
      }
      double sum = 0, size = 0;
      for (int64_t k = 0; k < g.k; ++k) {
        const double term = stored(a[size_t(ta ? k * lda + i : i * lda + k)], is_rounded) *
                            stored(b[size_t(tb ? j * ldb + k : k * ldb + j)], is_rounded);
        sum += term;
        size += std::abs(term);
      }
      const double expected = double(g.alpha) * sum + (g.beta != 0 ? double(g.beta * before[at]) : 0);
      ASSERT_NEAR(double(c[at]), expected, 1e-6 * (size + 1)) << i << ", " << j;
    }
  }
}

TEST(GemmTest, EqualsSumsInDoublePrecision) {
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    for (const Transpose ta : {Transpose::kNo, Transpose::kYes}) {
      for (const Transpose tb : {Transpose::kNo, Transpose::kYes}) {
        for (const float alpha : {1.0F, 0.5F}) {
          for (const float beta : {0.0F, 1.0F}) {
            Gemm g{.m = 19,
                   .n = 35,
                   .k = 50,
                   .transpose_a = ta,
                   .transpose_b = tb,
                   .alpha = alpha,
                   .beta = beta};
            g.precision = precision;
            check(g);
            g.m = 1;
            g.k = 1;
            check(g);
          }
        }
      }
    }
  }
}

// Columns of operands that several products share, rounded before. oneDNN may add up in another order where
// rows lie further apart (with AMX it does); inputs that are not rounded would be off by 1e-2.
TEST(GemmTest, TakesOperandsThatWereRoundedBefore) {
  constexpr int64_t kRows = 7, kShared = 40, kFirst = 3, kDepth = 33, kCols = 21;
  const auto a = random_floats(kRows * (kShared + 2)), b = random_floats(kCols * kDepth);
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    const Gemm g{.m = kRows, .n = kCols, .k = kDepth, .transpose_b = Transpose::kYes, .precision = precision};
    std::vector<float> expected(kRows * kCols), c(kRows * kCols);
    gemm(g, a.data() + kFirst, kShared + 2, b.data(), kDepth, expected.data(), kCols);
    Bf16Memory a_memory, b_memory;
    const GemmOperand wide = gemm_operand(a.data(), kShared + 2, kRows, kShared, precision, a_memory);
    EXPECT_EQ(wide.rounded != nullptr, precision == Precision::kBf16 && has_bf16_products());
    gemm(g, wide.from_column(kFirst), {b.data(), kDepth}, c.data(), kCols);
    EXPECT_THAT(c, Pointwise(FloatNear(1e-4F), expected));
    gemm(g, {a.data() + kFirst, kShared + 2},
         gemm_operand(b.data(), kDepth, kCols, kDepth, precision, b_memory), c.data(), kCols);
    EXPECT_THAT(c, Pointwise(FloatNear(1e-4F), expected));
  }
}

TEST(GemmTest, LeavesEmptyShapesAlone) {
  float c = 7;
  gemm({.m = 0, .n = 1, .k = 1, .precision = Precision::kBf16}, &c, 1, &c, 1, &c, 1);
  EXPECT_EQ(c, 7);
}

}  // namespace
}  // namespace prune
