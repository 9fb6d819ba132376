// A row of 2:4 weights, zeros in place, into the arrays of the packed format: what prune::pack_nm() gives for
// 2:4, at what memory gives.
#pragma once

#include <cstdint>

#include "kernels/sparse/isa.h"

namespace prune::kernels {

// Both functions write cols / 2 values and ceil(cols / 8) bytes of indices. False where a group has more than
// two weights that are not zero: then what they wrote means nothing. cols is a multiple of 4; nothing needs
// alignment, nothing beside the arrays is read or written.
struct Pack24 {
  const char* name;
  bool (*floats)(const void* row, int64_t cols, void* values, uint8_t* indices);  // of float
  bool (*halves)(const void* row, int64_t cols, void* values, uint8_t* indices);  // of bf16 or f16
};

// The best for a machine that has `isa`; null where there is none, for what pack_nm() does.
const Pack24* pack24(uint32_t isa = isa::supported());

}  // namespace prune::kernels
