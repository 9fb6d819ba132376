// Y[n, rows] = X[n, cols] W^T with W 2:4, or of any pattern, and many rows of X.
//
// Two of four inputs can be chosen in six ways, so a block of the panel is rewritten with all six pairs of
// every group of four inputs, three times its size and still in the first-level cache:
//     pair (i, j) of group g, i < j:    x[4 g + i][c] | x[4 g + j][c] << 16    for every column c
// What a row of W keeps of a group is then one pair of weights, as it lies in the file, against one row of
// this block: a multiply-add for each of its vectors, with that vector as its operand in memory. The index
// nibble i + 4 j, shifted to its place, is the address. Nothing is gathered and nothing is multiplied by
// zero: half of the products of a dense kernel.
//
// Without a pattern a group is no pair, one, or where more than two of its weights stay two of them; a row's
// pairs of a block become a list, of weights and places.
//
// The rows of a chunk are staged first, block by block: read row by row as they lie in the file, they would
// meet in a few sets of the cache, a power of two apart as they are.
#pragma once

#include <cstdint>

#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/many_rows.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

// Consecutive rows of W, as the packed formats hold them; scales are of groups of columns, of the first row.
struct Nm24Rows {
  const void* values;  // [rows, cols / 2]
  const uint8_t* indices;
  int64_t rows;
  int64_t cols;
  int64_t index_bytes;  // of a row
  GroupScales scales = {};
  int64_t scales_stride = 0;  // from a row's to the next one's
};
struct BitmaskRows {
  const void* values;          // of the whole matrix
  const int64_t* row_offsets;  // into it
  const uint8_t* bitmask;
  int64_t rows;
  int64_t cols;
  GroupScales scales = {};
  int64_t scales_stride = 0;
};

// Of block_inputs inputs each; the last may be shorter.
struct Blocks {
  int64_t first, count;
};

// How many rows share a block of pairs, and how many blocks all panels meet in turn, at most. No rows: the
// kernel takes no such weights.
struct Cut {
  int64_t chunk_rows;
  int64_t segment_blocks;
};

// Chunks are a multiple of this.
inline constexpr int64_t kRowsTogether = 16;

template <class Rows>
struct SixPairsKernel {
  const char* name;
  WeightType type;
  bool in_bytes;  // X is rounded to bytes, and the tile holds int32_t
  PanelCode panel;
  int64_t block_inputs;  // of a block
  int64_t block_bytes;   // scratch memory for a block of pairs, aligned to 64 as everything is
  Cut in_place;          // of weights that are staged for every batch
  Cut once;              // and of those that were staged before
  int64_t (*staged_bytes)(int64_t rows, int64_t blocks);  // rows: a multiple of kRowsTogether
  // Blocks of inputs, in their order: the first of the row must be staged before the others.
  void (*stage)(const Rows& rows, const Blocks& blocks, void* staged);
  // The same of weights times the scales of their groups, rounded to bf16; null where there are none of the
  // type.
  decltype(stage) stage_scaled;
  // tile[row][c] = sum_k W[row][k] panel[k][c] for the staged rows and blocks, added to the tile but for the
  // first; rows up to a multiple of kRowsTogether become whatever.
  void (*multiply)(int64_t rows, int64_t cols, const Blocks& blocks, const void* staged, const Panel& panel,
                   float* tile, void* block);
};

#define PRUNE_SIX_PAIRS_NM24_KERNEL(name, needs) extern const SixPairsKernel<Nm24Rows> name;
#define PRUNE_SIX_PAIRS_BITMASK_KERNEL(name, needs) extern const SixPairsKernel<BitmaskRows> name;
#include "kernels/sparse/six_pairs/kernels.inc"
#undef PRUNE_SIX_PAIRS_NM24_KERNEL
#undef PRUNE_SIX_PAIRS_BITMASK_KERNEL

}  // namespace prune::kernels
