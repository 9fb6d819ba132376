// Y[n, rows] = X[n, cols] W^T for a few rows of X and W without a pattern, of which little stays.
//
// Looking inputs up one by one costs a cycle for every weight that stays. Here sixteen rows of W lie in the
// lanes of a vector and take, step by step, one weight each from a window of 32 inputs: two registers hold
// the window, one permutation finds all sixteen inputs. Every row of a group has the same number of places in
// every window, which makes this a sliced ELLPACK (Monakov et al., HiPEAC 2010) cut by columns as well; what
// finds no place goes to a tail of values and column numbers.
#pragma once

#include <cstdint>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

// Sixteen rows, and the groups of a matrix one after the other. For every pair of windows, every step, both
// windows: sixteen values and their columns within the window; zeros at column zero where a row has no more.
struct WindowsStream {
  const void* values;
  const uint8_t* columns;
  int64_t pairs;
  int64_t steps;
  // Row after row.
  const void* tail_values;
  const uint16_t* tail_columns;
  const int32_t* tail_counts;
};

struct WindowsKernel {
  const char* name;
  WeightType type;
  // sums[i * 16 + r] for i < n; row i of X begins at x + i * x_stride and is followed by zeros to a whole
  // pair.
  void (*multiply)(const WindowsStream& stream, const float* x, int64_t x_stride, int64_t n, float* sums);
};

#define PRUNE_WINDOWS_KERNEL(name, needs) extern const WindowsKernel name;
#include "kernels/sparse/spmm_windows/kernels.inc"
#undef PRUNE_WINDOWS_KERNEL

}  // namespace prune::kernels
