// Y[n, rows] = X[n, cols] W^T for a few rows of X and W in 2:4 form.
//
// The weights that stay are never spread out again: the inputs that belong to them are gathered instead, with
// a permutation whose control is the two-bit indices themselves. A step takes `chunk` weights of a row, that
// is chunk / 2 values and chunk / 16 bytes of indices.
#pragma once

#include <cstdint>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

inline constexpr int64_t kNm24GroupRows = 4;

// Four rows. Row r: values + r * row_values, chunk after chunk. Indices of the four rows lie side by side:
// for every chunk, row 0 .. 3, chunk / 32 words of 32 bits, two bits per value.
struct Nm24Stream {
  const void* values;
  int64_t row_values;
  const uint32_t* indices;
  int64_t chunks;
};

struct Nm24Kernel {
  const char* name;
  WeightType type;
  int32_t chunk;    // 32 or 64 weights
  int32_t x_bytes;  // of an input as packed
  // Value p of a chunk is the natural value order(p): vectors that widen narrow values want them interleaved.
  int32_t (*order)(int32_t p);
  // cols inputs, then zeros to a whole number of chunks.
  void (*pack_x)(const float* x, int64_t cols, int64_t chunks, void* packed);
  // sums[i * 4 + r] for i < n; row i of the packed inputs begins at x + i * chunks * chunk * x_bytes.
  void (*multiply)(const Nm24Stream& stream, const void* x, int64_t n, float* sums);
};

#define PRUNE_NM24_KERNEL(name, needs) extern const Nm24Kernel name;
#include "kernels/sparse/spmm_nm/kernels.inc"
#undef PRUNE_NM24_KERNEL

}  // namespace prune::kernels
