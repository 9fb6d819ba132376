// Tiles of kernels whose sixteen lanes are rows of W: a column's sums are neighbours of a row of Y, and
// nothing is transposed. Include only from files built with AVX-512.
#pragma once

#include "kernels/sparse/simd/avx512.h"

namespace prune::kernels {
namespace {

inline constexpr int64_t kLaneRows = 16;  // of W in a register

struct FloatLanes {
  static PRUNE_INLINE __m512 load(const float* p) { return _mm512_load_ps(p); }
};
struct IntegerLanes {
  static PRUNE_INLINE __m512 load(const float* p) { return _mm512_cvtepi32_ps(_mm512_load_si512(p)); }
};

// y[c * ldy + r] = tile[r / 16][c][r % 16] * scales[r] * steps[c] + bias[r], Columns columns for sixteen
// rows; scales, steps and bias may be null.
template <class Lanes, int64_t Columns>
void store_lanes(float* tile, int64_t rows, int64_t columns, const float* scales, const float* steps,
                 const float* bias, float* y, int64_t ldy) {
  const __m512 one = _mm512_set1_ps(1);
  for (int64_t c = 0; c < columns; ++c, y += ldy) {
    const __m512 step = steps != nullptr ? _mm512_set1_ps(steps[c]) : one;
    for (int64_t r = 0; r < rows; r += kLaneRows) {
      const __mmask16 present = first_lanes(rows - r);
      const __m512 sums = Lanes::load(tile + r * Columns + c * kLaneRows);
      const __m512 scale = scales != nullptr ? _mm512_maskz_loadu_ps(present, scales + r) : one;
      const __m512 shift = bias != nullptr ? _mm512_maskz_loadu_ps(present, bias + r) : _mm512_setzero_ps();
      _mm512_mask_storeu_ps(y + r, present, _mm512_fmadd_ps(_mm512_mul_ps(sums, step), scale, shift));
    }
  }
}

}  // namespace
}  // namespace prune::kernels
