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

// A zero that the compiler can't fold into the zero-masking form of an expand, which waits for its
// destination on Zen 4 and 5.
PRUNE_INLINE __m512i fresh_zero() {
  __m512i zero;
  __asm__("vpxord %0, %0, %0" : "=v"(zero));
  return zero;
}

// 64 int8, stored as a sign and seven bits of magnitude, made bf16, which holds them exactly: the magnitude
// looks up the two bytes of its bf16.
struct SignMagnitude {
  __m512i low[2], high[2];

  PRUNE_INLINE SignMagnitude() {
    alignas(64) uint8_t bytes[2][128];
    for (int v = 0; v < 128; ++v) {
      const uint32_t bits = __builtin_bit_cast(uint32_t, static_cast<float>(v));
      bytes[0][v] = static_cast<uint8_t>(bits >> 16);
      bytes[1][v] = static_cast<uint8_t>(bits >> 24);
    }
    for (int i = 0; i < 2; ++i) {
      low[i] = _mm512_load_si512(bytes[0] + 64 * i);
      high[i] = _mm512_load_si512(bytes[1] + 64 * i);
    }
  }
  // Byte p goes to place unpacked_place(p) of w.
  PRUNE_INLINE void widen(__m512i v, __m512i (&w)[2]) const { join(lower(v), upper(v, v), w); }

  // The bytes of the bf16 of magnitudes below 128, the upper one with the sign bits of `signs`.
  PRUNE_INLINE __m512i lower(__m512i v) const { return _mm512_permutex2var_epi8(low[0], v, low[1]); }
  PRUNE_INLINE __m512i upper(__m512i v, __m512i signs) const {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    const __m512i magnitude = _mm512_permutex2var_epi8(high[0], v, high[1]);
    return _mm512_ternarylogic_epi32(magnitude, signs, sign, 0xf8);  // magnitude | (signs & sign)
  }
  PRUNE_INLINE static void join(__m512i lower, __m512i upper, __m512i (&w)[2]) {
    w[0] = _mm512_unpacklo_epi8(lower, upper);
    w[1] = _mm512_unpackhi_epi8(lower, upper);
  }
};
// Unpacking works within 128 bits.
constexpr int32_t unpacked_place(int32_t p) { return p / 16 * 8 + p % 8 + (p % 16 < 8 ? 0 : 32); }

// 64 int8 as they are stored elsewhere, in two's complement, made bf16 in their own order.
struct TwosComplement {
  SignMagnitude tables;

  PRUNE_INLINE void widen(__m512i v, __m512i (&w)[2]) const {
    const __m512i least = _mm512_set1_epi8(static_cast<char>(0x80));
    // Eights of bytes, so that unpacking puts them in order.
    v = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), v);
    const __m512i magnitude = _mm512_abs_epi8(v);
    // -128, whose magnitude has eight bits, is 0xc300.
    const __m512i upper = _mm512_mask_mov_epi8(tables.upper(magnitude, v), _mm512_cmpeq_epi8_mask(v, least),
                                               _mm512_set1_epi8(static_cast<char>(0xc3)));
    SignMagnitude::join(tables.lower(magnitude), upper, w);
  }
};

}  // namespace
}  // namespace prune::kernels
