// Y[n, rows] = X[n, cols] W^T with W in blocks.
//
// Rows of W are worked off in strips of equal height within a block. A strip's weights lie block after block,
// input after input, the rows of the strip side by side:
//   many rows of X: strips of 8 or 4; an input's row of the panel is loaded once and multiplied into the
//     accumulators of the strip's rows, which stay in registers over the whole row of blocks; or strips of 16
//     in the lanes of a register (lanes.h);
//   few rows of X: strips as high as a vector is wide; the weights of an input are one vector, multiplied by
//     one element of X.
#pragma once

#include <cstdint>

#include "kernels/sparse/many_rows.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

struct BsrTileKernel {
  const char* name;
  // 1: values and panel in float. 2: in bf16. 4: int8 values and a panel of bytes, the tile holds int32_t.
  // values[b][j / i][r][j % i] of i inputs together, which block_cols must be a multiple of.
  int32_t inputs_together;
  int32_t strip_rows;        // a multiple of 4; block heights are multiples of this
  int32_t strip_inputs = 1;  // and widths of this
  bool in_halves = false;    // only chosen where isa::works_in_halves()
  PanelCode panel;
  // Of a strip, before its values: what `begin` makes of them, once they are there. Null where there is none.
  int32_t head_bytes;
  void (*begin)(void* strip, int64_t blocks, int64_t block_cols);
  // tile[r][c] = sum over blocks b and inputs j of values[b][j][r] panel[columns[b] * block_cols + j][c], for
  // r < strip_rows; in the order in which panel.store takes it.
  void (*multiply)(const void* strip, const int32_t* block_columns, int64_t blocks, int64_t block_cols,
                   const void* panel, int64_t columns, float* tile);
};

struct BsrFewKernel {
  const char* name;
  WeightType type;
  int32_t strip_rows;  // a multiple of 4; block heights are multiples of this
  // sums[i * strip_rows + r] = sum over b, j of values[b][j][r] x[i * x_stride + block_columns[b] *
  // block_cols + j].
  void (*multiply)(const void* values, const int32_t* block_columns, int64_t blocks, int64_t block_cols,
                   const float* x, int64_t x_stride, int64_t n, float* sums);
};

#define PRUNE_BSR_TILE_KERNEL(name, needs) extern const BsrTileKernel name;
#define PRUNE_BSR_FEW_KERNEL(name, needs) extern const BsrFewKernel name;
#include "kernels/sparse/spmm_bsr/kernels.inc"
#undef PRUNE_BSR_TILE_KERNEL
#undef PRUNE_BSR_FEW_KERNEL

}  // namespace prune::kernels
