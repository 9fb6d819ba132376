// Panels of bytes: every row of X rounded to 255 steps of its own, for products of 8-bit integers. Include
// only from files built with AVX-512 VNNI.
//
// An input x becomes 128 + round(x / step), ties to even, with step = max |x| of the row / 127. vpdpbusd
// multiplies such unsigned bytes with signed weights; 128 times the sum of a row of W is subtracted where its
// sums begin. Sums of 32 bits wrap on the way and are exact where the result fits: for rows of W of up to
// kMostByteInputs weights.
#pragma once

#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/simd/panel.h"

namespace prune::kernels {
namespace {

inline constexpr int32_t kByteZero = 128;

// The step of a row of X. The least is large enough to have an inverse, so that a row of zeros is one of
// zeros; infinity and NaN are passed on.
inline float find_byte_step(const float* x, int64_t count) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i most[4] = {};
  // As integers: their order is that of floats, and NaN is above all.
  for (int64_t k = 0; k < count; k += 64) {
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

// Sixteen inputs from k on of sixteen rows of X, transposed: q[i] holds input k + i of every row, in bytes of
// 32 bits. Rows from `columns` on become whatever.
PRUNE_INLINE void load_bytes(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* steps,
                             __m512i (&q)[16]) {
  __m512 r[16];
  load_transposed(x, ldx, columns, depth, r);
  const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1), _mm512_maskz_loadu_ps(first_lanes(columns), steps));
  for (int i = 0; i < 16; ++i) {
    q[i] = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(r[i], inverse)), _mm512_set1_epi32(kByteZero));
  }
}

// Sixteen rows at once are more streams than the processor follows by itself.
PRUNE_INLINE void prefetch_rows(const float* x, int64_t ldx, int64_t columns) {
  constexpr int64_t kAhead = 64;
  for (int i = 0; i < 16 && i < columns; ++i) __builtin_prefetch(x + i * ldx + kAhead);
}

// Inputs 4 p to 4 p + 3 of a column side by side: panel[p][c].
template <int Columns>
void pack_byte_fours(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* steps,
                     void* packed) {
  for (int64_t c = 0; c < columns; c += 16) {
    const float* from = x + c * ldx;
    for (int64_t k = 0; k < depth; k += 16) {
      prefetch_rows(from + k, ldx, columns - c);
      __m512i q[16];
      load_bytes(from + k, ldx, columns - c, depth - k, steps + c, q);
      for (int64_t i = 0; i < 16 && k + i < depth; i += 4) {
        const __m512i low = _mm512_or_si512(q[i], _mm512_slli_epi32(q[i + 1], 8));
        const __m512i high = _mm512_or_si512(q[i + 2], _mm512_slli_epi32(q[i + 3], 8));
        _mm512_storeu_si512(static_cast<char*>(packed) + (k + i) * Columns + 4 * c,
                            _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
      }
    }
  }
}

// A tile of 32-bit integers as one of floats.
struct IntegerSums : Avx512F32 {
  static PRUNE_INLINE Reg load_sum(const float* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  static PRUNE_INLINE float read_sum(const float* p) {
    return static_cast<float>(__builtin_bit_cast(int32_t, *p));
  }
};

template <int Columns>
void store_byte_sums(const float* tile, int64_t rows, int64_t columns, const float* scales,
                     const float* steps, const float* bias, float* y, int64_t ldy) {
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
