// The algorithm of plain/kernel.h in float, against a vector type V of simd/ and the type T of weights.
#pragma once

#include <cstring>

#include "kernels/sparse/plain/ahead.h"
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

// kB rows of X against kRows of W. `fetch(r)` gives the next weights of row r as floats.
template <class V, int kB, int kRows, class Fetch>
PRUNE_INLINE void plain_step(typename V::Reg (&acc)[kB][kRows], const float* x, int64_t x_stride,
                             Fetch&& fetch) {
  typename V::Reg in[kB];
#pragma GCC unroll 4
  for (int i = 0; i < kB; ++i) in[i] = V::load(x + i * x_stride);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const typename V::Reg w = fetch(r);
#pragma GCC unroll 4
    for (int i = 0; i < kB; ++i) acc[i][r] = V::fma(w, in[i], acc[i][r]);
  }
}

// kRows of the kGroupRows rows of a group. kAsks: for weights ahead, which takes a step of a line at least.
template <class V, class T, int kB, int kRows, int kGroupRows, bool kAsks>
void multiply_plain_batch(const T* const* rows, int64_t cols, const float* x, int64_t x_stride, float* sums) {
  const SideBySide<kGroupRows> ahead(cols * static_cast<int64_t>(sizeof(T)));
  typename V::Reg acc[kB][kRows];
  for (int i = 0; i < kB; ++i) {
    for (int r = 0; r < kRows; ++r) acc[i][r] = V::zero();
  }
  int64_t k = 0;
  for (; k + V::kWidth <= cols; k += V::kWidth) {
    if (kAsks) ahead.template ask_for<kRows>(rows, k * static_cast<int64_t>(sizeof(T)));
    plain_step<V, kB, kRows>(acc, x + k, x_stride, [&](int r) { return V::widen(rows[r] + k); });
  }
  if (k < cols) {
    T rest[kRows][V::kWidth] = {};
    for (int r = 0; r < kRows; ++r)
      std::memcpy(rest[r], rows[r] + k, static_cast<size_t>(cols - k) * sizeof(T));
    plain_step<V, kB, kRows>(acc, x + k, x_stride, [&](int r) { return V::widen(rest[r]); });
  }
  for (int i = 0; i < kB; ++i) {
    for (int r = 0; r < kRows; ++r) sums[i * kGroupRows + r] = sum_of_lanes<V>(acc[i][r]);
  }
}

// Four rows of W, of a group of them or of more, against all rows of X. Of four rows or more the first ask
// for weights.
template <class V, class T, int kGroupRows, bool kAsks>
void multiply_plain_four(const T* const* rows, int64_t cols, const float* x, int64_t x_stride, int64_t n,
                         float* sums) {
  int64_t i = 0;
  if (kAsks && n >= 4) {
    multiply_plain_batch<V, T, 4, 4, kGroupRows, true>(rows, cols, x, x_stride, sums);
    i = 4;
  }
  for (; i + 4 <= n; i += 4)
    multiply_plain_batch<V, T, 4, 4, kGroupRows, false>(rows, cols, x + i * x_stride, x_stride,
                                                        sums + i * kGroupRows);
  for (; i + 2 <= n; i += 2)
    multiply_plain_batch<V, T, 2, 4, kGroupRows, false>(rows, cols, x + i * x_stride, x_stride,
                                                        sums + i * kGroupRows);
  if (i < n)
    multiply_plain_batch<V, T, 1, 4, kGroupRows, false>(rows, cols, x + i * x_stride, x_stride,
                                                        sums + i * kGroupRows);
}

template <class V, class T>
void multiply_plain(const void* const* rows, int64_t cols, const void* packed, int64_t x_stride, int64_t n,
                    float* sums) {
  const T* typed[4];
  for (int r = 0; r < 4; ++r) typed[r] = static_cast<const T*>(rows[r]);
  multiply_plain_four<V, T, 4, false>(typed, cols, static_cast<const float*>(packed), x_stride, n, sums);
}

// Eight rows of W share the loads of X of one row or two, which more rows of X do among themselves.
template <class V, class T>
void multiply_plain_eight(const void* const* rows, int64_t cols, const void* packed, int64_t x_stride,
                          int64_t n, float* sums) {
  const T* typed[8];
  for (int r = 0; r < 8; ++r) typed[r] = static_cast<const T*>(rows[r]);
  const auto* x = static_cast<const float*>(packed);
  if (n == 1) return multiply_plain_batch<V, T, 1, 8, 8, true>(typed, cols, x, x_stride, sums);
  if (n == 2) return multiply_plain_batch<V, T, 2, 8, 8, true>(typed, cols, x, x_stride, sums);
  for (int r = 0; r < 8; r += 4)
    multiply_plain_four<V, T, 8, true>(typed + r, cols, x, x_stride, n, sums + r);
}

inline void copy_inputs(const float* x, int64_t cols, int64_t padded, void* packed) {
  auto* out = static_cast<float*>(packed);
  std::memcpy(out, x, static_cast<size_t>(cols) * sizeof(float));
  std::memset(out + cols, 0, static_cast<size_t>(padded - cols) * sizeof(float));
}

template <class V, class T>
constexpr PlainKernel plain_kernel(const char* name, WeightType type) {
  return {name, type, 4, false, sizeof(float), copy_inputs, multiply_plain<V, T>};
}

}  // namespace
}  // namespace prune::kernels
