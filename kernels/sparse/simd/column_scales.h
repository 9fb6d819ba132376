// Scales of groups of columns in a register.
#pragma once

#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/simd/avx512.h"

namespace prune::kernels {
namespace {

// Of a row of `cols` columns; one beyond them takes the last one's.
struct ColumnScales {
  const float* row;
  int shift;
  int64_t last;
  PRUNE_INLINE ColumnScales(const GroupScales& scales, int64_t cols)
      : row(scales.row), shift(scales.shift), last(cols - 1) {}
  PRUNE_INLINE __m512 at(int64_t column) const {
    return _mm512_set1_ps(row[(column < last ? column : last) >> shift]);
  }
  // Lanes 0 to 7 of one column, 8 to 15 of another.
  PRUNE_INLINE __m512 at(int64_t lower, int64_t upper) const {
    return _mm512_mask_mov_ps(at(lower), 0xff00, at(upper));
  }
};

}  // namespace
}  // namespace prune::kernels
