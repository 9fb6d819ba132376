// Panels whose 32-bit words hold neighbours of a row of X: two bf16, or four bytes. Include only from files
// built with AVX-512.
#pragma once

#include "kernels/sparse/simd/avx512.h"
#include "kernels/sparse/simd/panel.h"

namespace prune::kernels {
namespace {

// panel[p][c] = inputs Words::kInputs * p and on of row c of X, Columns words a row. Rounded before they are
// transposed: sixteen words are 32 or 64 inputs, so that a row of X is read by whole lines. Columns up to
// `padded` become zero, inputs up to the next multiple of 4 are rounded zeros.
//   Words(steps, c, columns)              of sixteen columns from c on, or so many
//   Words::round(row of X, left, column)    its next sixteen words, of `left` inputs and zeros behind
template <int Columns, class Words>
PRUNE_INLINE void pack_words(const float* x, int64_t ldx, int64_t columns, int64_t padded, int64_t depth,
                             const float* steps, void* packed) {
  constexpr int64_t kInputs = Words::kInputs, kDepth = 16 * kInputs;
  auto* panel = static_cast<uint32_t*>(packed);
  for (int64_t c = 0; c < padded; c += 16) {
    const int64_t present = columns - c;
    const Words words(steps, c, present);
    for (int64_t k = 0; k < depth; k += kDepth) {
      __m512 r[16];
      for (int i = 0; i < 16; ++i)
        r[i] = i < present ? words.round(x + (c + i) * ldx + k, depth - k, i) : _mm512_setzero_ps();
      Avx512F32::transpose(r);
      const int64_t left = (depth - k + 3) / 4 * 4 / kInputs;
      for (int64_t p = 0; p < 16 && p < left; ++p)
        _mm512_storeu_ps(panel + (k / kInputs + p) * Columns + c, r[p]);
    }
  }
}

// Inputs `first` to `first` + 15 of the `left` that there are, zeros behind them. No pointer past them is
// formed.
PRUNE_INLINE __m512 load_inputs(const float* x, int64_t left, int64_t first) {
  const __mmask16 present = first_lanes(left - first);
  return _mm512_maskz_loadu_ps(present, present != 0 ? x + first : x);
}

}  // namespace
}  // namespace prune::kernels
