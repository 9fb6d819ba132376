// The implementations of Select24.
#pragma once

#include "kernels/sparse/select24/select24.h"

namespace prune::kernels {

#define PRUNE_SELECT24_KERNEL(name, needs) extern const Select24 name;
#include "kernels/sparse/select24/kernels.inc"
#undef PRUNE_SELECT24_KERNEL

}  // namespace prune::kernels
