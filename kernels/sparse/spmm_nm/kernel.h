// Y[n, rows] = X[n, cols] W^T for a few rows of X and W in 2:4 form.
//
// The weights that stay are never spread out again: the inputs that belong to them are gathered instead, with
// a permutation whose control is the two-bit indices themselves. A step takes `chunk` weights of a row, that
// is chunk / 2 values and chunk / 8 bytes of indices. Rows of X are packed chunk by chunk, too: chunk c of
// row i of n begins at input (c * n + i) * chunk, so that all of X is one stream.
#pragma once

#include <cstdint>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

inline constexpr int64_t kNm24GroupRows = 16;
inline constexpr int64_t kNm24QuadRows = 4;
inline constexpr int64_t kNm24MostBatch = 16;

// Sixteen rows, and the groups of a matrix one after the other: each array is read from its beginning to its
// end, which is what memory delivers fastest. For every block of chunks, for every four rows, for every chunk
// of the block, row 0 .. 3: chunk / 2 values; chunk / 32 words of 32 bits of indices, two bits per value.
struct Nm24Stream {
  const void* values;
  const uint32_t* indices;
  int64_t chunks;
  int64_t block_chunks;
};

struct Nm24Kernel {
  const char* name;
  WeightType type;
  int32_t chunk;    // 32, 64 or 128 weights
  int32_t x_bytes;  // of an input as packed
  // int8 values as a sign and seven bits, which leave no room for -128.
  bool sign_magnitude = false;
  // Value p of a chunk is the natural value order(p): vectors that widen narrow values want them interleaved.
  int32_t (*order)(int32_t p);
  // One chunk: cols inputs (all of a chunk's for more), zeros from there on.
  void (*pack_chunk)(const float* x, int64_t cols, void* packed);
  // sums[i * 16 + r] for i < n <= kNm24MostBatch.
  void (*multiply)(const Nm24Stream& stream, const void* x, int64_t n, float* sums);
};

#define PRUNE_NM24_KERNEL(name, needs) extern const Nm24Kernel name;
#include "kernels/sparse/spmm_nm/kernels.inc"
#undef PRUNE_NM24_KERNEL

}  // namespace prune::kernels
