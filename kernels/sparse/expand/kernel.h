// One row: out[j] for j < cols is the next value where bit j % 8 of byte j / 8 of `bits` is set, +0
// elsewhere. Bits from cols on are 0. Nothing beyond the values that are taken is read.
#pragma once

#include <cstdint>

#include "kernels/sparse/isa.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

void nm24_masks_by_table(const uint8_t* indices, int64_t count, uint8_t* masks);

struct ExpandKernel {
  const char* name;
  WeightType type;  // of the values; out has expanded_type(type)
  void (*expand_row)(const uint8_t* bits, const void* values, int64_t cols, void* out);
  // masks[i] = the byte of a bitmask for both groups of a byte of 2:4 indices, for i < count.
  void (*nm24_masks)(const uint8_t* indices, int64_t count, uint8_t* masks) = nm24_masks_by_table;
};

#define PRUNE_EXPAND_KERNEL(name, needs) extern const ExpandKernel name;
#include "kernels/sparse/expand/kernels.inc"
#undef PRUNE_EXPAND_KERNEL

// The best for these values on this machine.
const ExpandKernel& choose_expand_kernel(WeightType type, uint32_t isa);

}  // namespace prune::kernels
