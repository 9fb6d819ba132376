// Y[n, rows] = X[n, cols] W^T for many rows of X, of weights that are staged for their kernel, chunk of rows
// by chunk, block of inputs by block: once, or where the packed arrays lie and stay, for every batch. Read
// row by row as they lie in the file, they would meet in a few sets of the cache, a power of two apart as
// they are.
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

// How many rows share a block, and how many blocks all panels meet in turn, at most. No rows: the
// kernel takes no such weights.
struct Cut {
  int64_t chunk_rows;
  int64_t segment_blocks;
};

// Chunks are a multiple of this.
inline constexpr int64_t kRowsTogether = 16;

template <class Rows>
struct StagedKernel {
  const char* name;
  WeightType type;
  bool in_bytes;  // X is rounded to bytes, and the tile holds int32_t
  PanelCode panel;
  int64_t block_inputs;  // of a block
  int64_t block_bytes;   // scratch memory for what is made of a block, aligned to 64 as everything is
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

}  // namespace prune::kernels
