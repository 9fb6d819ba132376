// Four or eight rows of W against some rows of X: one pass over W, at the speed of memory.
#pragma once

#include <cstdint>

#include "kernels/sparse/isa.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

inline constexpr int64_t kPlainMaxGroupRows = 8;
inline constexpr int64_t kPlainInputs = 32;  // packed rows of X are a multiple of it long, zeros behind cols

struct PlainKernel {
  const char* name;
  WeightType type;
  int64_t group_rows;  // of W at once
  bool in_halves;      // only chosen where isa::works_in_halves()
  int64_t x_bytes;     // of an input as packed
  void (*pack_x)(const float* x, int64_t cols, int64_t padded, void* packed);
  // sums[i * group_rows + r] = sum_k rows[r][k] x[i * x_stride + k], k < cols, for i < n. Nothing beyond
  // the rows is read.
  void (*multiply)(const void* const* rows, int64_t cols, const void* x, int64_t x_stride, int64_t n,
                   float* sums);
};

#define PRUNE_PLAIN_KERNEL(name, needs) extern const PlainKernel name;
#include "kernels/sparse/plain/kernels.inc"
#undef PRUNE_PLAIN_KERNEL

}  // namespace prune::kernels
