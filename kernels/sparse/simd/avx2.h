// Eight floats in a ymm register. Include only from files built with AVX2 and FMA.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/sparse/simd/prefetch.h"

#define PRUNE_INLINE inline __attribute__((always_inline))

namespace prune::kernels {
namespace {

struct Avx2F32 {
  using Reg = __m256;
  static constexpr int kWidth = 8;

  static PRUNE_INLINE Reg zero() { return _mm256_setzero_ps(); }
  static PRUNE_INLINE Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static PRUNE_INLINE void keep(Reg& r) { __asm__("" : "+x"(r)); }
  static PRUNE_INLINE void store(float* p, Reg r) { _mm256_storeu_ps(p, r); }
  static PRUNE_INLINE Reg broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static PRUNE_INLINE Reg load_four(const float* p) {
    return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
  }
  template <int I>
  static PRUNE_INLINE Reg spread(Reg four) {
    return _mm256_permute_ps(four, I * 0x55);
  }
  static PRUNE_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static PRUNE_INLINE Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static PRUNE_INLINE Reg widen(const float* p) { return load(p); }
  static PRUNE_INLINE Reg widen(const uint16_t* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  static PRUNE_INLINE Reg widen(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }

  // Pairs, then fours within each half, then the halves.
  static PRUNE_INLINE void transpose(Reg (&r)[8]) {
    Reg t[8];
    for (int i = 0; i < 4; ++i) {
      t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
      r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
      r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
      r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
      t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) r[i] = t[i];
  }
};

PRUNE_INLINE float horizontal_sum(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

}  // namespace
}  // namespace prune::kernels
