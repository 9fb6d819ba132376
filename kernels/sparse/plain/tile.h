// The algorithm of plain/kernel.h in float, against a vector type V of simd/ and the type T of weights.
#pragma once

#include <cstring>

#include "kernels/sparse/plain/kernel.h"
#include "kernels/sparse/simd/prefetch.h"

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

// kR rows of W at once against kB of X. kAsks: as in avx512bf16.cc.
template <class V, class T, int kB, int kR, bool kAsks>
void multiply_plain_batch(const T* const* rows, int64_t cols, const float* x, int64_t x_stride, float* sums) {
  typename V::Reg acc[kB][kR];
  for (auto& of_x : acc) {
    for (auto& sum : of_x) sum = V::zero();
  }
  const auto step = [&](int64_t k, const auto& weights_of) {
    typename V::Reg in[kB];
#pragma GCC unroll 4
    for (int i = 0; i < kB; ++i) in[i] = V::load(x + i * x_stride + k);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      const typename V::Reg w = weights_of(r);
#pragma GCC unroll 4
      for (int i = 0; i < kB; ++i) acc[i][r] = V::fma(w, in[i], acc[i][r]);
    }
  };
  int64_t k = 0;
  for (; k + V::kWidth <= cols; k += V::kWidth) {
    step(k, [&](int r) {
      if constexpr (kAsks) prefetch_second_level(rows[r] + k, kPlainBytesAhead);
      return V::widen(rows[r] + k);
    });
  }
  if (k < cols) {
    T rest[kR][V::kWidth] = {};
    for (int r = 0; r < kR; ++r) std::memcpy(rest[r], rows[r] + k, static_cast<size_t>(cols - k) * sizeof(T));
    step(k, [&](int r) { return V::widen(rest[r]); });
  }
  for (int i = 0; i < kB; ++i) {
    for (int r = 0; r < kR; ++r) sums[i * kPlainGroupRows + r] = sum_of_lanes<V>(acc[i][r]);
  }
}

// In turns of four rows of W.
template <class V, class T, int kB>
void multiply_plain_by_fours(const T* const* rows, int64_t cols, const float* x, int64_t x_stride,
                             float* sums) {
  for (int r = 0; r < kPlainGroupRows; r += 4)
    multiply_plain_batch<V, T, kB, 4, false>(rows + r, cols, x, x_stride, sums + r);
}

template <class V, class T>
void multiply_plain(const void* const* rows, int64_t cols, const void* packed, int64_t x_stride, int64_t n,
                    float* sums) {
  constexpr int kRows = kPlainGroupRows;
  const T* typed[kRows];
  for (int r = 0; r < kRows; ++r) typed[r] = static_cast<const T*>(rows[r]);
  const auto* x = static_cast<const float*>(packed);
  if (n == 1 && isa::works_in_halves())
    return multiply_plain_batch<V, T, 1, kRows, true>(typed, cols, x, x_stride, sums);
  // Sixteen sums want more than sixteen registers.
  if constexpr (V::kWidth == 16) {
    if (n == 2 && isa::works_in_halves())
      return multiply_plain_batch<V, T, 2, kRows, true>(typed, cols, x, x_stride, sums);
  }
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    multiply_plain_by_fours<V, T, 4>(typed, cols, x + i * x_stride, x_stride, sums + i * kRows);
  for (; i + 2 <= n; i += 2)
    multiply_plain_by_fours<V, T, 2>(typed, cols, x + i * x_stride, x_stride, sums + i * kRows);
  if (i < n) multiply_plain_by_fours<V, T, 1>(typed, cols, x + i * x_stride, x_stride, sums + i * kRows);
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
