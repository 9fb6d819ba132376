// Products of bf16 pairs, summed in float. Include only from files built with AVX-512 BF16.
#pragma once

#include "kernels/sparse/simd/avx512.h"

namespace prune::kernels {
namespace {

// acc[l] += a[2 l] * b[2 l] + a[2 l + 1] * b[2 l + 1] over thirty-two bf16.
PRUNE_INLINE __m512 dot_pairs(__m512 acc, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}

// Sixteen floats as bf16, ties to even.
PRUNE_INLINE __m256i round_bf16(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }

// The first `count` of sixteen lanes, all for more.
PRUNE_INLINE __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// `padded` (a multiple of 16) inputs as bf16, those from cols on zero.
PRUNE_INLINE void round_inputs(const float* x, int64_t cols, int64_t padded, void* packed) {
  auto* out = static_cast<uint16_t*>(packed);
  for (int64_t k = 0; k < padded; k += 16) {
    const __m512 v = _mm512_maskz_loadu_ps(first_lanes(cols - k), x + k);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + k), round_bf16(v));
  }
}

// Sixteen inputs from k on of sixteen rows of X, transposed: r[i] holds input k + i of every row. Rows from
// `columns` and inputs from `depth` on are zero.
PRUNE_INLINE void load_transposed(const float* x, int64_t ldx, int64_t columns, int64_t depth,
                                  __m512 (&r)[16]) {
  const __mmask16 inputs = first_lanes(depth);
  for (int i = 0; i < 16; ++i)
    r[i] = i < columns ? _mm512_maskz_loadu_ps(inputs, x + i * ldx) : _mm512_setzero_ps();
  Avx512F32::transpose(r);
}

}  // namespace
}  // namespace prune::kernels
