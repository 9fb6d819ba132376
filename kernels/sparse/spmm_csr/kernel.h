// Y[n, rows] = X[n, cols] W^T for a few rows of X and W as values and column numbers, for weights so sparse
// that even a bit for every weight is too much to read.
#pragma once

#include <cstdint>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

// Rows of X lie side by side, what a column number leads to is then one vector for all of them: so many
// floats for n <= kMostCsrRows rows, of which those behind the n-th are whatever.
inline constexpr int64_t kMostCsrRows = 16;
constexpr int64_t csr_width(int64_t n) { return n == 1 ? 1 : n <= 4 ? 4 : n <= 8 ? 8 : 16; }

struct CsrKernel {
  const char* name;
  WeightType type;
  // sums[i] = sum over the row's count values of values[j] * x[columns[j] * csr_width(n) + i], for
  // i < csr_width(n). Sixteen bits hold the columns of every matrix up to 65536 wide, and are half as much to
  // read.
  void (*multiply16)(const void* values, const uint16_t* columns, int64_t count, const float* x, int64_t n,
                     float* sums);
  void (*multiply32)(const void* values, const uint32_t* columns, int64_t count, const float* x, int64_t n,
                     float* sums);
};

#define PRUNE_CSR_KERNEL(name, needs) extern const CsrKernel name;
#include "kernels/sparse/spmm_csr/kernels.inc"
#undef PRUNE_CSR_KERNEL

}  // namespace prune::kernels
