// Y[n, rows] = X[n, cols] W^T for a few rows of X and W as values and a bitmask.
//
// A step takes 32 weights of a row: a word of the mask says which of them stay, and the values that lie next
// in memory are spread to those places. Time does not depend on how many stay; memory traffic does.
#pragma once

#include <cstdint>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

inline constexpr int64_t kBitmaskGroupRows = 4;
inline constexpr int64_t kBitmaskChunk = 32;

// Four rows: each has its own run of values; masks lie side by side, for every chunk rows 0 .. 3.
struct BitmaskStream {
  const void* values[kBitmaskGroupRows];
  const uint32_t* masks;
  int64_t chunks;
};

struct BitmaskKernel {
  const char* name;
  WeightType type;
  int32_t x_bytes;  // of an input as packed
  // cols inputs, then zeros to a whole number of chunks.
  void (*pack_x)(const float* x, int64_t cols, int64_t chunks, void* packed);
  // sums[i * 4 + r] for i < n; row i of the packed inputs begins at x + i * chunks * 32 * x_bytes.
  void (*multiply)(const BitmaskStream& stream, const void* x, int64_t n, float* sums);
};

#define PRUNE_BITMASK_KERNEL(name, needs) extern const BitmaskKernel name;
#include "kernels/sparse/spmm_bitmask/kernels.inc"
#undef PRUNE_BITMASK_KERNEL

}  // namespace prune::kernels
