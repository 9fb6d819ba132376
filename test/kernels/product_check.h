// Products of plans against sums in double precision.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/sparse/plan.h"
#include "test/kernels/packing.h"

namespace prune::kernels {

inline bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

// X, Y and bias of a batch. Rows are farther apart than they are long, and start off alignment; the gaps hold
// what no kernel may read (NaN) or write (a mark).
struct TestBatch {
  static constexpr float kMark = 12345.0f;
  int64_t n, ldx, ldy;
  std::vector<float> x, y, bias;

  TestBatch(const TestMatrix& m, int64_t n_, bool with_bias, std::mt19937& rng)
      : n(n_), ldx(m.cols + 3), ldy(m.rows + 5), x(1 + n * ldx, std::nanf("")), y(1 + n * ldy, kMark) {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < m.cols; ++k) x[1 + i * ldx + k] = normal(rng);
    }
    if (with_bias) {
      for (int64_t r = 0; r < m.rows; ++r) bias.push_back(normal(rng));
    }
  }
  // The last row of X ends where its allocation ends, so that the address sanitizer sees reads past it.
  Batch view() {
    x.resize(1 + (n - 1) * ldx + (ldx - 3));
    x.shrink_to_fit();
    return {x.data() + 1, ldx, y.data() + 1, ldy, n, bias.empty() ? nullptr : bias.data()};
  }
};

// Kernels in bytes round a row of X to multiples of its largest element / 127.
inline double input_error(const Plan& plan, const float* x, int64_t n, int64_t cols) {
  if (!contains(plan.kernel_name(n), "_bytes_")) return 0;
  double largest = 0;
  for (int64_t k = 0; k < cols; ++k) largest = std::max<double>(largest, std::abs(x[k]));
  return largest / 253;
}

inline void check(const Plan& plan, const TestMatrix& m, int64_t n, double relative, std::mt19937& rng) {
  SCOPED_TRACE(testing::Message() << plan.kernel_name(n) << " " << m.rows << " x " << m.cols << ", n = " << n
                                  << ", seed " << test_seed());
  TestBatch batch(m, n, n % 2 == 1, rng);
  const Batch view = batch.view();
  plan.run(view);
  for (int64_t i = 0; i < n; ++i) {
    const double off = input_error(plan, view.x + i * view.ldx, n, m.cols) / relative;
    for (int64_t r = 0; r < m.rows; ++r) {
      // Four sums of each kind, so that the additions need not wait for each other.
      double sums[4] = {}, magnitudes[4] = {};
      for (int64_t k = 0; k < m.cols; ++k) {
        const double weight = double{m.scale(r, k)} * m.at(r, k), x = view.x[i * view.ldx + k];
        sums[k % 4] += weight * x;
        magnitudes[k % 4] += std::abs(weight) * (std::abs(x) + off);
      }
      const double bias = batch.bias.empty() ? 0.0 : batch.bias[r];
      const double sum = sums[0] + sums[1] + sums[2] + sums[3] + bias;
      const double magnitude = magnitudes[0] + magnitudes[1] + magnitudes[2] + magnitudes[3] + std::abs(bias);
      ASSERT_NEAR(view.y[i * view.ldy + r], sum, relative * magnitude + 1e-30)
          << "row " << i << ", output " << r;
    }
    for (int64_t r = m.rows; r < view.ldy && (i + 1 < n || r + 1 < view.ldy); ++r) {
      ASSERT_EQ(view.y[i * view.ldy + r], TestBatch::kMark) << "wrote past the row";
    }
  }
  ASSERT_EQ(batch.y[0], TestBatch::kMark);
}

// What a kernel may be off, of the sum of |w x|.
inline double bound_of(const std::string& kernel) { return contains(kernel, "avx512bf16") ? 0x1p-8 : 1e-5; }

}  // namespace prune::kernels
