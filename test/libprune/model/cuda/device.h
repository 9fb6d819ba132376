// What tests on a CUDA device have in common.
#pragma once

#include <cmath>
#include <optional>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "libprune/model/cuda/device.h"
#include "libprune/model/cuda/elements.h"

namespace prune::testing {

// Skips where there is no device.
class OnDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    const cudaError_t answer = cudaGetDeviceCount(&count);
    if (answer != cudaSuccess || count == 0) GTEST_SKIP() << "no CUDA device: " << cudaGetErrorString(answer);
    stream_.emplace();
  }
  std::optional<gpu::Stream> stream_;
};

inline std::vector<float> normal_floats(size_t n, unsigned seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}
inline std::vector<gpu::Bf16> normal_bf16(size_t n, unsigned seed, float deviation = 1) {
  std::vector<gpu::Bf16> values;
  for (const float v : normal_floats(n, seed, deviation)) values.push_back(gpu::Bf16(v));
  return values;
}

template <class T>
std::vector<T> to_host(const gpu::DeviceArray<T>& array) {
  std::vector<T> values(array.size());
  gpu::cuda(cudaMemcpy(values.data(), array.get(), array.bytes(), cudaMemcpyDeviceToHost));
  return values;
}

// The relative error of rounding to bfloat16, of eight bits, is at most 2^-8.
inline constexpr double kBf16 = 1.0 / 256;

// Within one rounding to bfloat16, and a little for single precision.
inline void expect_rounded(double actual, double expected, const char* what, size_t at) {
  ASSERT_NEAR(actual, expected, kBf16 * std::abs(expected) + 2e-5) << what << " at " << at;
}

// What place_heads() makes of one head, in double precision. Null: no bias, no norm.
inline std::vector<double> placed_head(const gpu::Bf16* from, int dim, const float* bias, const float* norm,
                                       double epsilon, const float* cos, const float* sin, int half) {
  std::vector<double> v;
  double squares = 0;
  for (int i = 0; i < dim; ++i) {
    v.push_back(double(float(from[i])) + (bias != nullptr ? double(bias[i]) : 0));
    squares += v.back() * v.back();
  }
  for (int i = 0; i < dim && norm != nullptr; ++i)
    v[size_t(i)] *= double(norm[i]) / std::sqrt(squares / dim + epsilon);
  for (int i = 0; i < half; ++i) {
    const double a = v[size_t(i)], b = v[size_t(i + half)];
    v[size_t(i)] = a * double(cos[i]) - b * double(sin[i]);
    v[size_t(i + half)] = b * double(cos[i]) + a * double(sin[i]);
  }
  return v;
}

// cos and sin of some angles of positions [0, length), `half` of each.
struct Angles {
  Angles(int length, int half) {
    for (int p = 0; p < length; ++p) {
      for (int i = 0; i < half; ++i) {
        cos.push_back(std::cos(0.7F * float(p) / float(1 + i)));
        sin.push_back(std::sin(0.7F * float(p) / float(1 + i)));
      }
    }
  }
  std::vector<float> cos, sin;
};

}  // namespace prune::testing
