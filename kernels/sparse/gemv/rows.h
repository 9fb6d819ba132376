// Dense rows against any vector type of simd/, which comes first.
#pragma once

#include "kernels/sparse/gemv/kernel.h"
#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

inline void pack_float_chunk(const float* x, int64_t cols, void* packed) {
  auto* out = static_cast<float*>(packed);
  for (int64_t k = 0; k < kGemvChunk; ++k) out[k] = k < cols ? x[k] : 0.0f;
}

// B of n rows of X at once.
template <class V, int B>
void multiply_dense(const int8_t* values, int64_t chunks, const float* x, int64_t n, float* sums) {
  constexpr int kRows = kGemvGroupRows, kWidth = V::kWidth;
  typename V::Reg acc[B][kRows];
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = V::zero();
  }
  for (int64_t c = 0; c < chunks; ++c, x += n * kGemvChunk, values += kRows * kGemvChunk) {
#pragma GCC unroll 4
    for (int p = 0; p < kRows * kGemvChunk; p += 64) prefetch_ahead(values + p);
    for (int k = 0; k < kGemvChunk; k += kWidth) {
      typename V::Reg in[B];
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) in[i] = V::load(x + i * kGemvChunk + k);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const typename V::Reg w = V::widen(values + r * kGemvChunk + k);
#pragma GCC unroll 4
        for (int i = 0; i < B; ++i) acc[i][r] = V::fma(w, in[i], acc[i][r]);
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      float lanes[kWidth], sum = 0;
      V::store(lanes, acc[i][r]);
      for (const float lane : lanes) sum += lane;
      sums[i * kRows + r] = sum;
    }
  }
}

template <class V>
void multiply_dense_rows(const void* packed, int64_t chunks, const void* inputs, int64_t n, float* sums) {
  constexpr int kRows = kGemvGroupRows;
  const auto* values = static_cast<const int8_t*>(packed);
  const float* x = static_cast<const float*>(inputs);
  int64_t i = 0;
  for (; i + 2 <= n; i += 2) multiply_dense<V, 2>(values, chunks, x + i * kGemvChunk, n, sums + i * kRows);
  if (i < n) multiply_dense<V, 1>(values, chunks, x + i * kGemvChunk, n, sums + i * kRows);
}

template <class V>
constexpr GemvKernel make_gemv_kernel(const char* name) {
  return {.name = name, .x_bytes = 4, .pack_chunk = pack_float_chunk, .multiply = multiply_dense_rows<V>};
}

}  // namespace
}  // namespace prune::kernels
