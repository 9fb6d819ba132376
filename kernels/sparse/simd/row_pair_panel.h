// Panels of bf16 in which an input is a row, for kernels that pair any two of them. Include only from files
// built with AVX-512 BF16.
#pragma once

#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/simd/panel.h"

namespace prune::kernels {
namespace {

// `inputs` of rows `column` and `column` + 1 of X, zeros where there are fewer rows: in each word one's bf16
// and the other's.
PRUNE_INLINE __m512 round_two_columns(const float* x, int64_t ldx, int64_t column, int64_t columns,
                                      __mmask16 inputs) {
  alignas(64) static constexpr uint16_t kInTurn[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  // Where there is no row the pointer must not be formed.
  const __m512 first =
      column < columns ? _mm512_maskz_loadu_ps(inputs, x + column * ldx) : _mm512_setzero_ps();
  const __m512 second =
      column + 1 < columns ? _mm512_maskz_loadu_ps(inputs, x + (column + 1) * ldx) : _mm512_setzero_ps();
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(kInTurn), both));
}

// An entry pairs two inputs of equal pattern, so their rows of the panel are interleaved on the way to the
// product. vpunpck works within 128 bits: of 32 columns in a register it pairs up the first four of each
// lane, then the second four. The panel therefore keeps 32 columns in the order 0-3, 16-19, 4-7, 20-23, 8-11,
// ..., and the two results hold columns 0-15 and 16-31.
// Two columns are rounded and put side by side before they are transposed, as one word.
template <int Columns>
void pack_rows_to_pair(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* /*steps*/,
                       void* packed) {
  for (int64_t c = 0; c < columns; c += 32) {
    for (int64_t k = 0; k < depth; k += 16) {
      const __mmask16 inputs = first_lanes(depth - k);
      __m512 words[16];
      for (int w = 0; w < 16; ++w) {
        // Words 0, 1, 4, 5, ... are of the first sixteen columns, 2, 3, 6, 7, ... of the others.
        const int64_t column = c + w / 4 * 4 + w % 2 * 2 + w % 4 / 2 * 16;
        words[w] = round_two_columns(x + k, ldx, column, columns, inputs);
      }
      Avx512F32::transpose(words);
      for (int64_t i = 0; i < 16 && k + i < depth; ++i)
        _mm512_storeu_ps(static_cast<uint16_t*>(packed) + (k + i) * Columns + c, words[i]);
    }
  }
}

template <int Columns>
void store_row_pair_sums(float* tile, int64_t rows, int64_t columns, const float* scales, const float* steps,
                         const float* bias, float* y, int64_t ldy) {
  store_tile<Avx512F32>(tile, Columns, rows, columns, scales, steps, bias, y, ldy);
}

// 32 columns from vector v on of the pairs of two inputs, whose rows of the panel these are.
PRUNE_INLINE void interleave_rows(const char* row0, const char* row1, int v, __m512i (&pairs)[2]) {
  __m512 first = _mm512_loadu_ps(row0 + 32 * v), second = _mm512_loadu_ps(row1 + 32 * v);
  // One load for both: gcc would fold it into each.
  Avx512F32::keep(first);
  Avx512F32::keep(second);
  const __m512i a = _mm512_castps_si512(first), b = _mm512_castps_si512(second);
  pairs[0] = _mm512_unpacklo_epi16(a, b);
  pairs[1] = _mm512_unpackhi_epi16(a, b);
}

template <int Columns>
constexpr PanelCode make_row_pair_panel_code() {
  return {.vector_columns = 32,
          .panel_columns = Columns,
          .input_bytes = 2,
          .pack = pack_rows_to_pair<Columns>,
          .store = store_row_pair_sums<Columns>};
}

}  // namespace
}  // namespace prune::kernels
