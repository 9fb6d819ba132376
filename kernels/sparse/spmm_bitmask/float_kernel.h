// What kernels that multiply in floats have in common, against any instruction set's Batch. Include only from
// files of kernels.
#pragma once

#include "kernels/sparse/simd/pack_floats.h"
#include "kernels/sparse/spmm_bitmask/kernel.h"

namespace prune::kernels {
namespace {

// Batch::kChunk weights a step; Batch::kMost rows of X at once.
//   multiply<B>(stream, x, n, sums): B of n rows of X by the four rows of a group.
template <class Batch, int B>
inline __attribute__((always_inline)) int64_t multiply_batches(const BitmaskStream& stream, const float* x,
                                                               int64_t first, int64_t n, float* sums) {
  for (; first + B <= n; first += B)
    Batch::template multiply<B>(stream, x + first * Batch::kChunk, n, sums + first * kBitmaskGroupRows);
  return first;
}

template <class Batch>
void multiply_group(const BitmaskStream& stream, const void* packed, int64_t n, float* sums) {
  const auto* x = static_cast<const float*>(packed);
  int64_t i = 0;
  if constexpr (Batch::kMost >= 4) i = multiply_batches<Batch, 4>(stream, x, i, n, sums);
  if constexpr (Batch::kMost >= 2) i = multiply_batches<Batch, 2>(stream, x, i, n, sums);
  multiply_batches<Batch, 1>(stream, x, i, n, sums);
}

template <class Batch>
constexpr BitmaskKernel float_kernel(const char* name, WeightType type) {
  return {.name = name,
          .type = type,
          .chunk = Batch::kChunk,
          .x_bytes = 4,
          .pack_chunk = pack_floats<Batch::kChunk>,
          .multiply = multiply_group<Batch>};
}

}  // namespace
}  // namespace prune::kernels
