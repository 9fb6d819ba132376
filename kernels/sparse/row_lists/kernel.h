// Y[n, rows] = X[n, cols] W^T for many columns of X^T and W of any sparsity pattern.
//
// Rows of W are taken in pairs, inputs in blocks of K whose panel fits the first-level cache. Within a pair
// and a block, an input is wanted by both rows, by one, or by none:
//   shared inputs: the panel's row is loaded once and multiplied into the accumulators of both rows;
//   single inputs: one of the first row and one of the second are taken together, so that the accumulators of
//     both rows are busy whatever the pattern.
// No weight that is zero is multiplied but to even out the rows of a pair. Pairs of equal list lengths follow
// each other, so that the processor foresees where the lists end. Working off inputs by the set of rows that
// want them is published as sparse register tiling (PLDI 2023, doi 10.1145/3591302).
#pragma once

#include <cstdint>

#include "kernels/sparse/many_rows.h"

namespace prune::kernels {

// Rows are collected in chunks of this many; a chunk is the unit of work of a thread, and its results wait in
// a tile of [kListChunkRows, panel_columns] floats until every block has been added.
inline constexpr int64_t kListChunkRows = 128;
// Of the blocks of all kernels.
inline constexpr int64_t kMostBlockInputs = 640;

// Two rows of a chunk and the lengths of their lists in steps; a step holds four weights of 32 bits.
struct ListPair {
  uint8_t rows[2];
  uint8_t shared;  // steps of two entries: weights [entry][row]
  uint8_t single;  // steps of two entries a row: weights [entry][row]
};

// Where a chunk's lists begin: for every block of inputs, for every pair of rows, first the shared steps,
// then the single ones. An entry is one input, or in bf16 two with their weights side by side.
struct ListStream {
  const ListPair* pairs;
  const uint16_t* offsets;  // of an entry's inputs: byte offset of their rows in the block's panel
  const void* values;
  int64_t pair_count;  // in this chunk
  int64_t blocks;      // of inputs
};

struct RowListsKernel {
  const char* name;
  bool bf16;             // panel, values and products in bf16 (pairs of inputs); else in float
  double densest;        // meant for weights of which at most this share stays
  bool in_halves;        // only chosen where isa::works_in_halves()
  int32_t block_inputs;  // K <= kMostBlockInputs; block_inputs * panel row bytes <= 65536
  PanelCode panel;
  // tile[row][c] = sum_k W[row][k] panel[k][c] over the rows of one chunk.
  void (*multiply)(const ListStream& stream, const void* panel, int64_t columns, float* tile);
};

#define PRUNE_ROW_LISTS_KERNEL(name, needs) extern const RowListsKernel name;
#include "kernels/sparse/row_lists/kernels.inc"
#undef PRUNE_ROW_LISTS_KERNEL

}  // namespace prune::kernels
