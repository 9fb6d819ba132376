// The algorithm of plain/kernel.h in float, against a vector type V of simd/ and the type T of weights.
#pragma once

#include <cstring>

#include "kernels/sparse/plain/kernel.h"

namespace prune::kernels {
namespace {

template <class V>
PRUNE_INLINE float sum_of_lanes(typename V::Reg v) {
  float lanes[V::kWidth];
  V::store(lanes, v);
  float sum = 0;
  for (int l = 0; l < V::kWidth; ++l) sum += lanes[l];
  return sum;
}

// kB rows of X. `fetch(r)` gives the next weights of row r as floats.
template <class V, int kB, class Fetch>
PRUNE_INLINE void plain_step(typename V::Reg (&acc)[kB][kPlainGroupRows], const float* x, int64_t x_stride,
                             Fetch&& fetch) {
  typename V::Reg in[kB];
#pragma GCC unroll 4
  for (int i = 0; i < kB; ++i) in[i] = V::load(x + i * x_stride);
#pragma GCC unroll 4
  for (int r = 0; r < kPlainGroupRows; ++r) {
    const typename V::Reg w = fetch(r);
#pragma GCC unroll 4
    for (int i = 0; i < kB; ++i) acc[i][r] = V::fma(w, in[i], acc[i][r]);
  }
}

template <class V, class T, int kB>
void multiply_plain_batch(const T* const* rows, int64_t cols, const float* x, int64_t x_stride, float* sums) {
  typename V::Reg acc[kB][kPlainGroupRows];
  for (int i = 0; i < kB; ++i) {
    for (int r = 0; r < kPlainGroupRows; ++r) acc[i][r] = V::zero();
  }
  int64_t k = 0;
  for (; k + V::kWidth <= cols; k += V::kWidth)
    plain_step<V, kB>(acc, x + k, x_stride, [&](int r) { return V::widen(rows[r] + k); });
  if (k < cols) {
    T rest[kPlainGroupRows][V::kWidth] = {};
    for (int r = 0; r < kPlainGroupRows; ++r)
      std::memcpy(rest[r], rows[r] + k, static_cast<size_t>(cols - k) * sizeof(T));
    plain_step<V, kB>(acc, x + k, x_stride, [&](int r) { return V::widen(rest[r]); });
  }
  for (int i = 0; i < kB; ++i) {
    for (int r = 0; r < kPlainGroupRows; ++r) sums[i * kPlainGroupRows + r] = sum_of_lanes<V>(acc[i][r]);
  }
}

template <class V, class T>
void multiply_plain(const void* const* rows, int64_t cols, const void* packed, int64_t x_stride, int64_t n,
                    float* sums) {
  const T* typed[kPlainGroupRows];
  for (int r = 0; r < kPlainGroupRows; ++r) typed[r] = static_cast<const T*>(rows[r]);
  const auto* x = static_cast<const float*>(packed);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    multiply_plain_batch<V, T, 4>(typed, cols, x + i * x_stride, x_stride, sums + i * kPlainGroupRows);
  for (; i + 2 <= n; i += 2)
    multiply_plain_batch<V, T, 2>(typed, cols, x + i * x_stride, x_stride, sums + i * kPlainGroupRows);
  if (i < n)
    multiply_plain_batch<V, T, 1>(typed, cols, x + i * x_stride, x_stride, sums + i * kPlainGroupRows);
}

inline void copy_inputs(const float* x, int64_t cols, int64_t padded, void* packed) {
  auto* out = static_cast<float*>(packed);
  std::memcpy(out, x, static_cast<size_t>(cols) * sizeof(float));
  std::memset(out + cols, 0, static_cast<size_t>(padded - cols) * sizeof(float));
}

template <class V, class T>
constexpr PlainKernel plain_kernel(const char* name, WeightType type) {
  return {name, type, sizeof(float), copy_inputs, multiply_plain<V, T>};
}

}  // namespace
}  // namespace prune::kernels
