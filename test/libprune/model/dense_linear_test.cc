#include "libprune/model/dense_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include <prune/error.h>

namespace prune {
namespace {

struct Problem {
  int64_t rows, cols, n, ldx, ldy;
  std::vector<float> weights, bias, x;

  Problem(int64_t rows_, int64_t cols_, int64_t n_)
      : rows(rows_),
        cols(cols_),
        n(n_),
        ldx(cols_ + 3),
        ldy(rows_ + 2),
        weights(rows * cols),
        bias(rows),
        x(n * ldx) {
    std::mt19937 rng(5);
    // Small whole numbers: exact in bf16, and their sums in float.
    std::uniform_int_distribution<int> whole(-8, 8);
    for (auto* values : {&weights, &bias, &x}) {
      for (float& v : *values) v = static_cast<float>(whole(rng));
    }
  }
  std::vector<uint16_t> bf16_weights() const {
    std::vector<uint16_t> halves(weights.size());
    for (size_t i = 0; i < weights.size(); ++i) {
      std::memcpy(&halves[i], reinterpret_cast<const char*>(&weights[i]) + 2, 2);
    }
    return halves;
  }
  void check(const DenseLinear& layer, bool with_bias) const {
    std::vector<float> y(n * ldy, -99.0f);
    layer.run(x.data(), ldx, y.data(), ldy, n);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t r = 0; r < rows; ++r) {
        double sum = with_bias ? bias[r] : 0;
        for (int64_t k = 0; k < cols; ++k) sum += static_cast<double>(weights[r * cols + k]) * x[i * ldx + k];
        ASSERT_EQ(y[i * ldy + r], sum)
            << "row " << i << ", output " << r << " of " << layer.implementation(n);
      }
      ASSERT_EQ(y[i * ldy + rows], -99.0f);
    }
  }
};

TEST(DenseLinear, Float) {
  for (const int64_t n : {1, 2, 5, 33}) {
    const Problem p(37, 70, n);
    p.check(DenseLinear(p.weights.data(), DenseType::kF32, p.rows, p.cols), false);
    p.check(DenseLinear(p.weights.data(), DenseType::kF32, p.rows, p.cols, p.bias.data()), true);
  }
}

TEST(DenseLinear, Bf16) {
  for (const int64_t n : {1, 2, 5, 33}) {
    const Problem p(37, 70, n);
    p.check(DenseLinear(p.bf16_weights().data(), DenseType::kBf16, p.rows, p.cols), false);
    p.check(DenseLinear(p.bf16_weights().data(), DenseType::kBf16, p.rows, p.cols, p.bias.data()), true);
  }
}

TEST(DenseLinear, ThreadsShareALayer) {
  const Problem small(20, 40, 3), large(20, 40, 17);
  const DenseLinear layer(small.weights.data(), DenseType::kF32, 20, 40);
  Problem same = large;
  same.weights = small.weights;
  std::thread other([&] {
    for (int i = 0; i < 20; ++i) same.check(layer, false);
  });
  for (int i = 0; i < 20; ++i) small.check(layer, false);
  other.join();
}

TEST(DenseLinear, RefusesWhatItCannotMean) {
  const float weight = 1;
  EXPECT_THROW(DenseLinear(&weight, DenseType::kF32, 0, 1), Error);
  const DenseLinear layer(&weight, DenseType::kF32, 1, 1);
  const uint16_t x = 0;
  float y;
  EXPECT_THROW(layer.run_bf16(&x, 1, &y, 1, 1), Error);
}

}  // namespace
}  // namespace prune
