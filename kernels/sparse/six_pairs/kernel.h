// Y[n, rows] = X[n, cols] W^T with W 2:4 and many rows of X.
//
// Two of four inputs can be chosen in six ways, so a block of the panel is rewritten with all six pairs of
// every group of four inputs, three times its size and still in the first-level cache:
//     pair (i, j) of group g, i < j:    x[4 g + i][c] | x[4 g + j][c] << 16    for every column c
// What a row of W keeps of a group is then one pair of weights, as it lies in the file, against one row of
// this block: a multiply-add for each of its vectors, with that vector as its operand in memory. The index
// nibble i + 4 j, shifted to its place, is the address. Nothing is gathered and nothing is multiplied by
// zero: half of the products of a dense kernel.
//
// The rows of a chunk are staged first, block by block: read row by row as they lie in the file, they would
// meet in a few sets of the cache, a power of two apart as they are.
#pragma once

#include <cstdint>

#include "kernels/sparse/many_rows.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

// Consecutive rows of W, as the packed format holds them.
struct Nm24Rows {
  const void* values;  // [rows, cols / 2]
  const uint8_t* indices;
  int64_t rows;
  int64_t cols;
  int64_t index_bytes;  // of a row
};

inline constexpr int64_t kRowsTogether = 4;

struct SixPairsKernel {
  const char* name;
  WeightType type;
  PanelCode panel;
  int64_t block_bytes;  // scratch memory for a block of pairs, aligned to 64 as everything is
  int64_t (*staged_bytes)(int64_t rows, int64_t cols);  // rows: a multiple of kRowsTogether
  void (*stage)(const Nm24Rows& rows, void* staged);
  // tile[row][c] = sum_k W[row][k] panel[k][c] for the staged rows, and up to a multiple of kRowsTogether
  // whatever.
  void (*multiply)(int64_t rows, int64_t cols, const void* staged, const void* panel, int64_t columns,
                   float* tile, void* block);
};

#define PRUNE_SIX_PAIRS_KERNEL(name, needs) extern const SixPairsKernel name;
#include "kernels/sparse/six_pairs/kernels.inc"
#undef PRUNE_SIX_PAIRS_KERNEL

}  // namespace prune::kernels
