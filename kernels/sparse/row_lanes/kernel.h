// Y[n, rows] = X[n, cols] W^T with W 2:4 in int8 and rows of X rounded to bytes: sixteen rows of W lie in the
// lanes of a register, and the inputs of one row of X are permuted to what they keep.
#pragma once

#include "kernels/sparse/staged/kernel.h"

namespace prune::kernels {

#define PRUNE_ROW_LANES_KERNEL(name, needs) extern const StagedKernel<Nm24Rows> name;
#include "kernels/sparse/row_lanes/kernels.inc"
#undef PRUNE_ROW_LANES_KERNEL

}  // namespace prune::kernels
