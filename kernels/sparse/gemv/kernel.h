// Y[n, rows] = X[n, cols] W^T for a few rows of X and W dense in int8: what sparse weights must beat, and how
// weights that stay dense are read at the speed of memory. Wider types are multiplied where they lie
// (kernels/sparse/plain).
//
// A step takes 64 weights of a row. Rows of X are packed chunk by chunk: chunk c of row i of n begins at
// input (c * n + i) * 64.
#pragma once

#include <cstdint>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

inline constexpr int64_t kGemvGroupRows = 4;
inline constexpr int64_t kGemvChunk = 64;

struct GemvKernel {
  const char* name;
  int32_t x_bytes;  // of an input as packed
  // int8 values as a sign and seven bits, which leave no room for -128.
  bool sign_magnitude = false;
  // One chunk: cols inputs (all of a chunk's for more), zeros from there on.
  void (*pack_chunk)(const float* x, int64_t cols, void* packed);
  // sums[i * 4 + r] for i < n. For every chunk, row 0 .. 3: its 64 values.
  void (*multiply)(const void* values, int64_t chunks, const void* x, int64_t n, float* sums);
};

#define PRUNE_GEMV_KERNEL(name, needs) extern const GemvKernel name;
#include "kernels/sparse/gemv/kernels.inc"
#undef PRUNE_GEMV_KERNEL

}  // namespace prune::kernels
