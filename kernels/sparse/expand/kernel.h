// One row: out[j] for j < cols is the next value where bit j % 8 of byte j / 8 of `bits` is set, +0
// elsewhere. Bits from cols on are 0. Nothing beyond the values that are taken is read.
#pragma once

#include <cstdint>

#include "kernels/sparse/isa.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

struct ExpandKernel {
  const char* name;
  WeightType type;  // of the values; out has expanded_type(type)
  void (*expand_row)(const uint8_t* bits, const void* values, int64_t cols, void* out);
};

#define PRUNE_EXPAND_KERNEL(name, needs) extern const ExpandKernel name;
#include "kernels/sparse/expand/kernels.inc"
#undef PRUNE_EXPAND_KERNEL

// The best for these values on this machine.
const ExpandKernel& choose_expand_kernel(WeightType type, uint32_t isa);

}  // namespace prune::kernels
