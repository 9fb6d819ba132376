// Panels of bytes: every row of X rounded to 255 steps of its own, for products of 8-bit integers. Include
// only from files built with AVX-512 VNNI.
//
// An input x becomes 128 + round(x / step), ties to even, with step = max |x| of the row / 127. vpdpbusd
// multiplies such unsigned bytes with signed weights; 128 times the sum of a row of W is subtracted where its
// sums begin. Sums of 32 bits wrap on the way and are exact where the result fits: for rows of W of up to
// kMostByteInputs weights.
#pragma once

#include "kernels/sparse/many_rows.h"
#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/simd/word_panel.h"

namespace prune::kernels {
namespace {

// The step of a row of X. The least is large enough to have an inverse, so that a row of zeros is one of
// zeros; infinity and NaN are passed on.
inline float find_byte_step(const float* x, int64_t count) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i most[4] = {};
  // As integers: their order is that of floats, and NaN is above all.
  int64_t k = 0;
  for (; k + 64 <= count; k += 64) {
    for (int i = 0; i < 4; ++i) {
      prefetch_behind(x, 4 * (k + 16 * i) + 4096);
      most[i] = _mm512_max_epi32(most[i], _mm512_and_si512(_mm512_loadu_si512(x + k + 16 * i), magnitude));
    }
  }
  if (k < count) {
    for (int i = 0; i < 4; ++i) {
      const __mmask16 lanes = first_lanes(count - k - 16 * i);
      const __m512i bits = _mm512_maskz_loadu_epi32(lanes, lanes != 0 ? x + k + 16 * i : x);
      most[i] = _mm512_max_epi32(most[i], _mm512_and_si512(bits, magnitude));
    }
  }
  const int32_t bits = _mm512_reduce_max_epi32(
      _mm512_max_epi32(_mm512_max_epi32(most[0], most[1]), _mm512_max_epi32(most[2], most[3])));
  const float step = __builtin_bit_cast(float, bits) / 127;
  return step < 0x1p-126f ? 0x1p-126f : step;
}

// 64 inputs of a row of X in their order, whose step has this inverse.
PRUNE_INLINE __m512i round_bytes(const float* x, int64_t left, __m512 inverse) {
  __m512i q[4];
  for (int i = 0; i < 4; ++i) q[i] = _mm512_cvtps_epi32(_mm512_mul_ps(load_inputs(x, left, 16 * i), inverse));
  // Packing works within 128 bits: fours of every quarter.
  const __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_xor_si512(_mm512_permutexvar_epi32(order, bytes),
                          _mm512_set1_epi8(static_cast<char>(kByteZero)));
}

// Inputs 4 p to 4 p + 3 of a column side by side.
struct FourWords {
  static constexpr int64_t kInputs = 4;
  alignas(64) float inverses[16];
  PRUNE_INLINE FourWords(const float* steps, int64_t c, int64_t columns) : inverses() {
    const __m512 some = _mm512_maskz_loadu_ps(first_lanes(columns), steps + c);
    _mm512_store_ps(inverses, _mm512_div_ps(_mm512_set1_ps(1), some));
  }
  PRUNE_INLINE __m512 round(const float* x, int64_t left, int column) const {
    return _mm512_castsi512_ps(round_bytes(x, left, _mm512_set1_ps(inverses[column])));
  }
};

template <int Columns>
void pack_byte_fours(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* steps,
                     void* packed) {
  pack_words<Columns, FourWords>(x, ldx, columns, columns, depth, steps, packed);
}

// A tile of 32-bit integers as one of floats.
struct IntegerSums : Avx512F32 {
  static PRUNE_INLINE Reg load_sum(const float* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  static PRUNE_INLINE float read_sum(const float* p) {
    return static_cast<float>(__builtin_bit_cast(int32_t, *p));
  }
};

template <int Columns>
void store_byte_sums(float* tile, int64_t rows, int64_t columns, const float* scales, const float* steps,
                     const float* bias, float* y, int64_t ldy) {
  store_tile<IntegerSums>(tile, Columns, rows, columns, scales, steps, bias, y, ldy);
}

template <int Columns>
constexpr PanelCode make_byte_four_panel_code() {
  return {.vector_columns = 16,
          .panel_columns = Columns,
          .input_bytes = 1,
          .pack = pack_byte_fours<Columns>,
          .store = store_byte_sums<Columns>,
          .find_step = find_byte_step};
}

}  // namespace
}  // namespace prune::kernels
