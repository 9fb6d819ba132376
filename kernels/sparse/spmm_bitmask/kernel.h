// Y[n, rows] = X[n, cols] W^T for a few rows of X and W as values and a bitmask.
//
// A step takes a chunk of weights of a row: a mask says which of them stay, and the values that lie next in
// memory are spread to those places. Time does not depend on how many stay; memory traffic does. Rows of X
// are packed chunk by chunk, too: chunk c of row i of n begins at input (c * n + i) * chunk.
#pragma once

#include <cstdint>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

inline constexpr int64_t kBitmaskGroupRows = 4;

// Four rows, and the groups of a matrix one after the other: each array is read from its beginning to its
// end. For every chunk, row 0 .. 3: its values; chunk / 32 words of its mask.
struct BitmaskStream {
  const void* values;
  const uint32_t* masks;
  int64_t chunks;
};

struct BitmaskKernel {
  const char* name;
  WeightType type;
  int32_t chunk;    // 32 or 64 weights
  int32_t x_bytes;  // of an input as packed
  // int8 values as a sign and seven bits, which leave no room for -128.
  bool sign_magnitude = false;
  // One chunk: cols inputs (all of a chunk's for more), zeros from there on.
  void (*pack_chunk)(const float* x, int64_t cols, void* packed);
  // sums[i * 4 + r] for i < n.
  void (*multiply)(const BitmaskStream& stream, const void* x, int64_t n, float* sums);
};

#define PRUNE_BITMASK_KERNEL(name, needs) extern const BitmaskKernel name;
#include "kernels/sparse/spmm_bitmask/kernels.inc"
#undef PRUNE_BITMASK_KERNEL

}  // namespace prune::kernels
