// Every implementation of RowMath against double precision.
#include "kernels/sparse/row_math/row_math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/sparse/isa.h"
#include "kernels/sparse/row_math/kernel.h"

namespace prune::kernels {
namespace {

std::vector<const RowMath*> implementations() {
  std::vector<const RowMath*> list;
#define PRUNE_ROW_MATH_KERNEL(name, needs) \
  if (isa::runs_on(needs, isa::supported())) list.push_back(&name);
#include "kernels/sparse/row_math/kernels.inc"
#undef PRUNE_ROW_MATH_KERNEL
  return list;
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kSizes[] = {0, 1, 7, 8, 15, 16, 17, 31, 33, 64, 100, 2048, 5000};

std::vector<float> row(int64_t n, float low, float high) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = distribution(random);
  return x;
}

TEST(RowMathTest, Exponentials) {
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    for (const int64_t n : kSizes) {
      const std::vector<float> x = row(n, -80, 10);
      std::vector<float> y = x;
      const float shift = 2.5F;
      const float sum = math->exp_and_sum(y.data(), n, shift);
      double expected = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double e = std::exp(double(x[i] - shift));
        expected += e;
        ASSERT_NEAR(double(y[i]), e, 3e-7 * e) << x[i];
      }
      EXPECT_NEAR(double(sum), expected, 1e-5 * expected);
      EXPECT_NEAR(math->sum_of_exp(x.data(), n, shift), expected, 1e-5 * expected);
    }
  }
}

TEST(RowMathTest, ExponentialsOfExtremes) {
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    std::vector<float> x(40, -87.5F);
    x[3] = -kInfinity;
    x[5] = 0;
    EXPECT_EQ(math->exp_and_sum(x.data(), 40, 0), 1);
    EXPECT_EQ(x[3], 0);
    EXPECT_EQ(x[4], 0);
    EXPECT_EQ(x[5], 1);
    x[7] = kNan;
    EXPECT_TRUE(std::isnan(math->exp_and_sum(x.data(), 40, 0)));
    EXPECT_TRUE(std::isnan(x[7]));
    x[0] = 1e30F;
    EXPECT_NEAR(double(math->exp_and_sum(x.data(), 1, 0)), std::exp(88.0), 1e-6 * std::exp(88.0));
  }
}

TEST(RowMathTest, Largest) {
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    EXPECT_EQ(math->largest(nullptr, 0), -kInfinity);
    for (const int64_t n : kSizes) {
      std::vector<float> x = row(n, -5, -1);
      for (size_t i = 0; i < x.size() && i < 40; ++i) {
        std::vector<float> y = x;
        y[i] = -0.5F;
        ASSERT_EQ(math->largest(y.data(), n), -0.5F) << n << ", " << i;
      }
    }
  }
}

TEST(RowMathTest, SlopeOfSoftmax) {
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    for (const int64_t n : kSizes) {
      std::vector<float> p = row(n, 0, 1), scaled = p;
      const std::vector<float> slope = row(n, -1, 3);
      math->scale(scaled.data(), n, 0.375F);
      for (size_t i = 0; i < p.size(); ++i) ASSERT_EQ(scaled[i], 0.375F * p[i]);
      math->scale(p.data(), n, 1 / float(n + 1));
      std::vector<float> out = slope;
      math->softmax_slope(p.data(), out.data(), n, 0.125F);
      double sum = 0;
      for (size_t i = 0; i < p.size(); ++i) sum += double(p[i]) * double(slope[i]);
      for (size_t i = 0; i < p.size(); ++i)
        ASSERT_NEAR(double(out[i]), 0.125 * double(p[i]) * (double(slope[i]) - sum), 2e-5 * double(p[i]));
    }
  }
}

TEST(RowMathTest, SlopeOfSilu) {
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    for (const int64_t n : kSizes) {
      const std::vector<float> x = row(n, -20, 20);
      std::vector<float> value(x.size()), slope(x.size());
      math->silu_slope(x.data(), value.data(), slope.data(), n);
      for (size_t i = 0; i < x.size(); ++i) {
        const double v = double(x[i]), s = 1 / (1 + std::exp(-v));
        ASSERT_NEAR(double(value[i]), v * s, 2e-6 * std::abs(v) + 1e-30) << v;
        ASSERT_NEAR(double(slope[i]), s * (1 + v * (1 - s)), 2e-6 * (1 + std::abs(v))) << v;
      }
    }
  }
}

TEST(RowMathTest, GatedSilu) {
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    for (const int64_t n : kSizes) {
      const std::vector<float> gate = row(n, -20, 20), up = row(n, -3, 1), dy = row(n, -1, 2);
      std::vector<float> y(gate.size()), dgate(gate.size()), dup(gate.size());
      math->gated_silu(gate.data(), up.data(), y.data(), n);
      math->gated_silu_slope(gate.data(), up.data(), dy.data(), dgate.data(), dup.data(), n);
      for (size_t i = 0; i < gate.size(); ++i) {
        const double v = double(gate[i]), u = double(up[i]), slope = double(dy[i]),
                     s = 1 / (1 + std::exp(-v));
        const double bound = 1e-5 * (1 + std::abs(v));
        ASSERT_NEAR(double(y[i]), u * v * s, bound) << v;
        ASSERT_NEAR(double(dgate[i]), slope * u * s * (1 + v * (1 - s)), bound) << v;
        ASSERT_NEAR(double(dup[i]), slope * v * s, bound) << v;
      }
    }
  }
}

// By cases: what is cut off is more than half, or half of an odd number.
uint16_t bf16_next_to(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t cut = bits & 0xffffu, kept = bits >> 16;
  return static_cast<uint16_t>(cut > 0x8000u || (cut == 0x8000u && kept % 2 == 1) ? kept + 1 : kept);
}

TEST(RowMathTest, RoundsToBf16) {
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    for (const int64_t n : kSizes) {
      std::vector<float> x = row(n, -3, 3);
      const float odd[] = {0, -0.0F, kInfinity, -kInfinity, 1.00390625F, 1.01171875F, 3.4e38F, 1e-40F};
      std::copy_n(odd, std::min(x.size(), std::size(odd)), x.begin());
      std::vector<uint16_t> y(x.size());
      math->round_to_bf16(x.data(), y.data(), n);
      for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], bf16_next_to(x[i])) << x[i];
    }
    uint16_t nan = 0;
    math->round_to_bf16(&kNan, &nan, 1);
    EXPECT_TRUE(std::isnan(std::bit_cast<float>(uint32_t{nan} << 16)));
  }
}

TEST(RowMathTest, StepOfAdam) {
  const AdamStep step{.beta1 = 0.9F,
                      .beta2 = 0.99F,
                      .epsilon = 1e-3F,
                      .scale1 = 2,
                      .scale2 = 3,
                      .rate = 0.25F,
                      .decay = 0.125F,
                      .gradient_scale = 0.5F};
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    for (const int64_t n : kSizes) {
      const std::vector<float> g = row(n, -3, 5), first = row(n, -1, 1), second = row(n, 0, 2),
                               from = row(n, -2, 1);
      std::vector<float> m = first, v = second, w = from;
      math->adam(step, g.data(), m.data(), v.data(), w.data(), n);
      for (size_t i = 0; i < g.size(); ++i) {
        const double slope = 0.5 * double(g[i]), m1 = 0.9 * double(first[i]) + 0.1 * slope;
        const double v1 = 0.99 * double(second[i]) + 0.01 * slope * slope, old = double(from[i]);
        ASSERT_NEAR(double(m[i]), m1, 1e-6);
        ASSERT_NEAR(double(v[i]), v1, 1e-6);
        ASSERT_NEAR(double(w[i]), old - 0.25 * (2 * m1 / (std::sqrt(3 * v1) + 1e-3) + 0.125 * old), 3e-6);
      }
    }
    // What is 0 and has only had slopes of 0 stays so.
    float zero[4] = {};
    math->adam(step, zero, zero + 1, zero + 2, zero + 3, 1);
    EXPECT_EQ(std::bit_cast<uint32_t>(zero[3]), 0U);
  }
}

TEST(RowMathTest, Activations) {
  for (const RowMath* math : implementations()) {
    SCOPED_TRACE(math->name);
    for (const int64_t n : kSizes) {
      const std::vector<float> x = row(n, -20, 20);
      std::vector<float> silu = x, gelu = x;
      math->silu(silu.data(), n);
      math->gelu_tanh(gelu.data(), n);
      for (size_t i = 0; i < x.size(); ++i) {
        const double v = double(x[i]), bound = 2e-6 * std::abs(v) + 1e-30;
        ASSERT_NEAR(double(silu[i]), v / (1 + std::exp(-v)), bound) << v;
        const double u = std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
        ASSERT_NEAR(double(gelu[i]), 0.5 * v * (1 + std::tanh(u)), bound) << v;
      }
    }
    float odd[] = {kNan, 1000, -1000};
    math->silu(odd, 3);
    EXPECT_TRUE(std::isnan(odd[0]));
    EXPECT_EQ(odd[1], 1000);
    EXPECT_NEAR(odd[2], 0, 1e-30);
  }
}

}  // namespace
}  // namespace prune::kernels
