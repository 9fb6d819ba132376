// The loops of RowMath, plain enough for a compiler to vectorise with the instruction set of the file that
// includes them.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/sparse/row_math/kernel.h"

namespace prune::kernels {
namespace {

// exp(x) = 2^n exp(r), r = x - n ln 2, |r| <= ln(2) / 2; exp(r) by the polynomial of Cephes' expf
// (Moshier, netlib.org/cephes).
inline float exp_of(float x) {
  constexpr float kLowest = -87.0f, kHighest = 88.0f;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number in the low bits
  constexpr uint32_t kRounderBits = 0x4B400000u, kBias = 127;
  float c = x < kLowest ? kLowest : x;
  c = c > kHighest ? kHighest : c;
  const float shifted = c * 1.44269504f + kRounder;
  const float n = shifted - kRounder;
  const float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float e = p * (r * r) + r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits - kRounderBits + kBias) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return x < kLowest ? 0.0f : e * scale;
}

inline float largest(const float* x, int64_t n) {
  float most = -__builtin_inff();
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < n; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

inline float exp_and_sum(float* x, int64_t n, float shift) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    x[i] = exp_of(x[i] - shift);
    sum += x[i];
  }
  return sum;
}

// Sums of floats are short, so that rows of a whole vocabulary lose nothing.
inline double sum_of_exp(const float* x, int64_t n, float shift) {
  constexpr int64_t kShort = 2048;
  double total = 0;
  for (int64_t first = 0; first < n; first += kShort) {
    const int64_t end = first + kShort < n ? first + kShort : n;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < end; ++i) sum += exp_of(x[i] - shift);
    total += static_cast<double>(sum);
  }
  return total;
}

inline void scale(float* x, int64_t n, float factor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

inline void softmax_slope(const float* p, float* slope, int64_t n, float scale) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += p[i] * slope[i];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) slope[i] = scale * p[i] * (slope[i] - sum);
}

inline void silu(float* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] / (1.0f + exp_of(-x[i]));
}

inline void gated_silu(const float* gate, const float* up, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = up[i] * (gate[i] / (1.0f + exp_of(-gate[i])));
}

inline void gated_silu_slope(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                             int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float s = 1.0f / (1.0f + exp_of(-gate[i]));
    dgate[i] = dy[i] * up[i] * (s * (1.0f + gate[i] * (1.0f - s)));
    dup[i] = dy[i] * (gate[i] * s);
  }
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u))
inline void gelu_tanh(float* x, int64_t n) {
  constexpr float kTwice = 2 * 0.79788456f;  // 2 sqrt(2 / pi)
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float u = kTwice * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
    x[i] = x[i] / (1.0f + exp_of(-u));
  }
}

inline void silu_slope(const float* x, float* value, float* slope, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float s = 1.0f / (1.0f + exp_of(-x[i]));
    value[i] = x[i] * s;
    slope[i] = s * (1.0f + x[i] * (1.0f - s));
  }
}

inline void round_to_bf16(const float* x, uint16_t* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &x[i], sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    const uint32_t quiet = bits >> 16 | 0x40u;
    y[i] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  }
}

inline void adam(const AdamStep& step, const float* g, float* m, float* v, float* w, int64_t n) {
  const AdamStep s = step;  // which no store can change
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float slope = s.gradient_scale * g[i];
    const float first = s.beta1 * m[i] + (1.0f - s.beta1) * slope;
    const float second = s.beta2 * v[i] + (1.0f - s.beta2) * slope * slope;
    m[i] = first;
    v[i] = second;
    w[i] -= s.rate * (s.scale1 * first / (__builtin_sqrtf(s.scale2 * second) + s.epsilon) + s.decay * w[i]);
  }
}

constexpr RowMath loops(const char* name) {
  return {name,       largest,          exp_and_sum, sum_of_exp, scale,         softmax_slope, silu,
          gated_silu, gated_silu_slope, gelu_tanh,   silu_slope, round_to_bf16, adam};
}

}  // namespace
}  // namespace prune::kernels
