// Panels of bf16 whose inputs lie in pairs, as products of bf16 take them. Include only from files built with
// AVX-512 BF16.
#pragma once

#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/simd/panel.h"

namespace prune::kernels {
namespace {

// Inputs 2 p and 2 p + 1 lie in the lower and upper half of each 32 bits: panel[p][c], Columns a row. Columns
// up to the next multiple of Step and inputs up to the next multiple of 4 become zero.
template <int Columns, int Step>
void pack_pairs(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* /*steps*/,
                void* packed) {
  constexpr int64_t kAhead = 64;
  for (int64_t c = 0; c < (columns + Step - 1) / Step * Step; c += 16) {
    // Where there are no more rows of X the pointer is not used, so it must not be formed past the end.
    const float* from = c < columns ? x + c * ldx : x;
    for (int64_t k = 0; k < depth; k += 16) {
      // Sixteen rows at once are more streams than the processor follows by itself.
      for (int i = 0; i < 16 && c + i < columns; ++i) __builtin_prefetch(from + i * ldx + k + kAhead);
      __m512 r[16];
      load_transposed(from + k, ldx, columns - c, depth - k, r);
      for (int64_t i = 0; i < 16 && k + i < (depth + 3) / 4 * 4; i += 2) {
        const __m512i even = _mm512_cvtepu16_epi32(round_bf16(r[i]));
        const __m512i odd = _mm512_slli_epi32(_mm512_cvtepu16_epi32(round_bf16(r[i + 1])), 16);
        _mm512_storeu_si512(static_cast<uint32_t*>(packed) + (k + i) / 2 * Columns + c,
                            _mm512_or_si512(even, odd));
      }
    }
  }
}

template <int Columns>
void store_sums_of_pairs(const float* tile, int64_t rows, int64_t columns, const float* scales,
                         const float* steps, const float* bias, float* y, int64_t ldy) {
  store_tile<Avx512F32>(tile, Columns, rows, columns, scales, steps, bias, y, ldy);
}

// Batches come in multiples of Step columns, itself a multiple of 16.
template <int Columns, int Step>
constexpr PanelCode make_pair_panel_code() {
  return {.vector_columns = Step,
          .panel_columns = Columns,
          .input_bytes = 2,
          .pack = pack_pairs<Columns, Step>,
          .store = store_sums_of_pairs<Columns>};
}

}  // namespace
}  // namespace prune::kernels
