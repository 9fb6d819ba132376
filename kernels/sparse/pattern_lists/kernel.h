// Y[n, rows] = X[n, cols] W^T for many rows of X and W of any pattern of which much stays.
//
// Rows of W are taken in fours, inputs in blocks whose panel about fills the first-level cache. Within four
// rows and a block, every input goes to the list of the set of rows that want it, its pattern, one of 15. An
// entry of a list is so many inputs of one pattern as a product takes, two in bf16 and four in bytes: their
// rows of the panel are loaded and interleaved once, and multiplied into the sums of every row of the
// pattern. Of a weight of which half stays an input that is wanted is wanted by 2.1 rows.
//
// Where lists end is not foreseen, but known early: the processor's queues hold work enough to hide it where
// a product takes a cycle, as on Zen 4, and not where it takes half of one. Published as sparse register
// tiling (PLDI 2023, doi 10.1145/3591302).
#pragma once

#include <cstdint>

#include "kernels/sparse/many_rows.h"

namespace prune::kernels {

inline constexpr int64_t kPatternRows = 4;
inline constexpr int kPatterns = 15;
// In the order in which lists are worked off. Those of one row, which are bound by loads and by sums that
// wait for each other, lie between those of three, which are bound by products.
inline constexpr uint8_t kPatternOrder[kPatterns] = {3, 12, 5, 10, 6, 9, 1, 14, 2, 13, 4, 11, 8, 7, 15};

// A thread's unit of work, and how many of its blocks all panels meet in turn.
inline constexpr int64_t kPatternChunkRows = 128;
inline constexpr int64_t kPatternSegmentBlocks = 2;

// For every block of inputs, for every four rows of the chunk: the lengths of their lists, 16 bytes in
// kPatternOrder, then the lists. An entry: 16-bit byte offsets of its inputs' rows in the block's panel, then
// for every row of the pattern a word with its weights of these inputs.
struct PatternStream {
  const uint32_t* words;
  int64_t fours;  // of rows, in this chunk
  int64_t blocks;
  int64_t block_bytes;    // of the panel
  bool is_first;          // sums begin here; else they are in the tile
  const int32_t* begins;  // of integers, where every row's sums begin
};

struct PatternListsKernel {
  const char* name;
  bool in_bytes;            // X is rounded to bytes, and the tile holds int32_t; else all is bf16
  double sparsest;          // meant for weights of which at least this share stays
  int32_t inputs_together;  // of an entry
  int32_t block_inputs;     // at most: no list is longer than 255 entries, no block larger than 64 KiB
  PanelCode panel;
  // tile[row][c] = sum_k W[row][k] panel[k][c] over the rows of one chunk and inputs k of the blocks, of
  // which panel is the first's.
  void (*multiply)(const PatternStream& stream, const char* panel, int64_t columns, float* tile);
};

#define PRUNE_PATTERN_LISTS_KERNEL(name, needs) extern const PatternListsKernel name;
#include "kernels/sparse/pattern_lists/kernels.inc"
#undef PRUNE_PATTERN_LISTS_KERNEL

}  // namespace prune::kernels
