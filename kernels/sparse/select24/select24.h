// Of every four weights of a row the two of the largest magnitude, ties to the lower column: the bits that
// prune::select_magnitude() gives for 2:4, at what memory gives.
#pragma once

#include <cstdint>

#include "kernels/sparse/isa.h"

namespace prune::kernels {

// Both functions write bit j % 64 of words[j / 64] for column j, 0 behind the last one, and return the
// largest magnitude of the row as its bit pattern without a sign. A row with a NaN, whose pattern is above
// infinity's, has no valid bits. cols is a multiple of 4; rows need no alignment, nothing beside them is
// read.
struct Select24 {
  const char* name;
  uint32_t (*floats)(const void* row, int64_t cols, uint64_t* words);  // of float
  uint32_t (*halves)(const void* row, int64_t cols, uint64_t* words);  // of bf16 or f16
};

// The best for a machine that has `isa`; null where there is none, for what select_magnitude() does.
const Select24* select24(uint32_t isa = isa::supported());

}  // namespace prune::kernels
