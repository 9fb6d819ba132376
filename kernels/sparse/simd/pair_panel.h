// Panels of bf16 whose inputs lie in pairs, as products of bf16 take them. Include only from files built with
// AVX-512 BF16.
#pragma once

#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/simd/word_panel.h"

namespace prune::kernels {
namespace {

// Inputs 2 p and 2 p + 1 lie in the lower and upper half of each 32 bits.
struct PairWords {
  static constexpr int64_t kInputs = 2;
  PRUNE_INLINE PairWords(const float* /*steps*/, int64_t /*c*/, int64_t /*columns*/) {}
  PRUNE_INLINE __m512 round(const float* x, int64_t left, int /*column*/) const {
    // Sixteen rows at once are more streams than the processor follows by itself.
    prefetch_behind(x, 128);
    prefetch_behind(x, 192);
    return (__m512)_mm512_cvtne2ps_pbh(load_inputs(x, left, 16), load_inputs(x, left, 0));
  }
};

// Columns up to the next multiple of Step become zero.
template <int Columns, int Step>
void pack_pairs(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* /*steps*/,
                void* packed) {
  pack_words<Columns, PairWords>(x, ldx, columns, (columns + Step - 1) / Step * Step, depth, nullptr, packed);
}

template <int Columns>
void store_sums_of_pairs(float* tile, int64_t rows, int64_t columns, const float* scales, const float* steps,
                         const float* bias, float* y, int64_t ldy) {
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
