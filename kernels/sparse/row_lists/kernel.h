// Y[n, rows] = X[n, cols] W^T for many columns of X^T and W of any sparsity pattern: row-group pattern lists.
//
// Rows are taken in groups of R, inputs in blocks of K. Within a group and a block, every input k has one of
// 2^R - 1 patterns: the set of rows that keep a weight there. Inputs of equal pattern form a list, and each
// list has straight-line code: load the panel's row k once, multiply it into the accumulators of exactly the
// rows in the pattern. No weight that is zero is multiplied, and a row of the panel is loaded once for all
// rows that want it. The idea is published as sparse register tiling (PLDI 2023, doi 10.1145/3591302).
#pragma once

#include <cstdint>

#include "kernels/sparse/many_rows.h"

namespace prune::kernels {

// Row groups are collected in chunks of this many rows; a chunk is the unit of work of a thread, and its
// results wait in a tile of [kListChunkRows, panel_columns] floats until every block has been added.
inline constexpr int64_t kListChunkRows = 128;

// Where a chunk's lists begin. For every block of inputs, then for every group of rows:
//   counts: entries of the list of pattern 1, 2, ..., 2^R - 1 (bit i of a pattern is row i of the group);
//   offsets: list after list, k_per_entry per entry: the byte offset of row k in the block's panel;
//   values: list after list, for every entry the rows of its pattern ascending; an entry of two inputs has
//           two bf16 side by side.
struct ListStream {
  const uint16_t* counts;
  const uint16_t* offsets;
  const void* values;
  int64_t groups;  // of rows in this chunk
  int64_t blocks;  // of inputs
};

struct RowListsKernel {
  const char* name;
  bool bf16;             // panel, values and products in bf16 (pairs of inputs); else in float
  int32_t group_rows;    // R
  int32_t block_inputs;  // K; block_inputs * panel row bytes <= 65536
  PanelCode panel;
  // tile[row][c] = sum_k W[row][k] panel[k][c] over the rows of one chunk.
  void (*multiply)(const ListStream& stream, const void* panel, int64_t columns, float* tile);
};

#define PRUNE_ROW_LISTS_KERNEL(name, needs) extern const RowListsKernel name;
#include "kernels/sparse/row_lists/kernels.inc"
#undef PRUNE_ROW_LISTS_KERNEL

}  // namespace prune::kernels
