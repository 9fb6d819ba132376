// The implementations of Pack24.
#pragma once

#include "kernels/sparse/pack24/pack24.h"

namespace prune::kernels {

#define PRUNE_PACK24_KERNEL(name, needs) extern const Pack24 name;
#include "kernels/sparse/pack24/kernels.inc"
#undef PRUNE_PACK24_KERNEL

}  // namespace prune::kernels
