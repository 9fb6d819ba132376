// The implementations of RowMath.
#pragma once

#include "kernels/sparse/row_math/row_math.h"

namespace prune::kernels {

#define PRUNE_ROW_MATH_KERNEL(name, needs) extern const RowMath name;
#include "kernels/sparse/row_math/kernels.inc"
#undef PRUNE_ROW_MATH_KERNEL

}  // namespace prune::kernels
