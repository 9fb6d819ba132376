// Sixteen floats in a zmm register. Include only from files built with AVX-512 F, BW, DQ and VL.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/sparse/simd/prefetch.h"
#include "kernels/sparse/simd/widen.h"

#define PRUNE_INLINE inline __attribute__((always_inline))

namespace prune::kernels {
namespace {

struct Avx512F32 {
  using Reg = __m512;
  static constexpr int kWidth = 16;

  static PRUNE_INLINE Reg zero() { return _mm512_setzero_ps(); }
  static PRUNE_INLINE Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static PRUNE_INLINE void keep(Reg& r) { __asm__("" : "+v"(r)); }
  static PRUNE_INLINE void store(float* p, Reg r) { _mm512_storeu_ps(p, r); }
  static PRUNE_INLINE Reg broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static PRUNE_INLINE Reg load_four(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
  template <int I>
  static PRUNE_INLINE Reg spread(Reg four) {
    return _mm512_permute_ps(four, I * 0x55);
  }
  static PRUNE_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static PRUNE_INLINE Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static PRUNE_INLINE Reg widen(const float* p) { return load(p); }
  static PRUNE_INLINE Reg widen(const uint16_t* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static PRUNE_INLINE Reg widen(const Half* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static PRUNE_INLINE Reg widen(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  // Pairs, then fours within each 128-bit lane, then the 4 x 4 arrangement of lanes.
  static PRUNE_INLINE void transpose(Reg (&r)[16]) {
    Reg t[16];
    for (int i = 0; i < 8; ++i) {
      t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
      r[4 * i] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
      r[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
      r[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
      r[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    // Lane l of r[4 i + c] holds rows 4i..4i+3 of column 4l + c.
    for (int c = 0; c < 4; ++c) {
      const Reg lo01 = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x44);
      const Reg hi01 = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xee);
      const Reg lo23 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x44);
      const Reg hi23 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xee);
      t[c] = _mm512_shuffle_f32x4(lo01, lo23, 0x88);
      t[4 + c] = _mm512_shuffle_f32x4(lo01, lo23, 0xdd);
      t[8 + c] = _mm512_shuffle_f32x4(hi01, hi23, 0x88);
      t[12 + c] = _mm512_shuffle_f32x4(hi01, hi23, 0xdd);
    }
    for (int i = 0; i < 16; ++i) r[i] = t[i];
  }
};

// The first `count` of sixteen lanes, all for more.
PRUNE_INLINE __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// Sums of four rows of W for B rows of X, kept in memory between blocks of inputs.
template <int B>
PRUNE_INLINE void load_sums(const float* lanes, int64_t stride, __m512 (&acc)[B][4]) {
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) acc[i][r] = _mm512_loadu_ps(lanes + i * stride + 16 * r);
  }
}
template <int B>
PRUNE_INLINE void store_sums(const __m512 (&acc)[B][4], float* lanes, int64_t stride) {
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) _mm512_storeu_ps(lanes + i * stride + 16 * r, acc[i][r]);
  }
}

}  // namespace
}  // namespace prune::kernels
