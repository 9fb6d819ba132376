// A group of sixteen rows of a 2:4 weight, against any instruction set's Step. Include only from files of
// kernels.
#pragma once

#include "kernels/sparse/simd/pack_floats.h"
#include "kernels/sparse/spmm_nm/kernel.h"

namespace prune::kernels {
namespace {

// Step::kChunk weights a step; Step::Value and Step::Input as packed; Step::kMostBatch rows of X at once;
// Step::kLanes floats of a sum.
//   multiply<B>(values, indices, chunks, x, n, lanes, stride): four rows; adds to lanes[i * stride + r *
//   kLanes + l]. reduce(lanes): the sum of kLanes floats.
template <class Step, int B>
inline __attribute__((always_inline)) int64_t multiply_batches(const typename Step::Value* values,
                                                               const uint32_t* indices, int64_t chunks,
                                                               const typename Step::Input* x, int64_t first,
                                                               int64_t n, float* lanes) {
  constexpr int64_t kStride = kNm24GroupRows * Step::kLanes;
  for (; first + B <= n; first += B) {
    Step::template multiply<B>(values, indices, chunks, x + first * Step::kChunk, n, lanes + first * kStride,
                               kStride);
  }
  return first;
}

// Inputs are taken in blocks that stay in the first-level cache while all rows of the group pass over them.
template <class Step>
void multiply_group(const Nm24Stream& stream, const void* packed, int64_t n, float* sums) {
  constexpr int64_t kQuads = kNm24GroupRows / kNm24QuadRows;
  alignas(64) float lanes[kNm24MostBatch * kNm24GroupRows * Step::kLanes];
  for (int64_t i = 0; i < n * kNm24GroupRows * Step::kLanes; ++i) lanes[i] = 0;
  const auto* values = static_cast<const typename Step::Value*>(stream.values);
  const auto* x = static_cast<const typename Step::Input*>(packed);
  const uint32_t* indices = stream.indices;
  for (int64_t c = 0; c < stream.chunks; c += stream.block_chunks) {
    const int64_t left = stream.chunks - c, chunks = left < stream.block_chunks ? left : stream.block_chunks;
    for (int64_t q = 0; q < kQuads; ++q) {
      float* to = lanes + q * kNm24QuadRows * Step::kLanes;
      int64_t i = 0;
      if constexpr (Step::kMostBatch >= 4)
        i = multiply_batches<Step, 4>(values, indices, chunks, x, i, n, to);
      if constexpr (Step::kMostBatch >= 2)
        i = multiply_batches<Step, 2>(values, indices, chunks, x, i, n, to);
      multiply_batches<Step, 1>(values, indices, chunks, x, i, n, to);
      values += chunks * kNm24QuadRows * Step::kChunk / 2;
      indices += chunks * kNm24QuadRows * Step::kChunk / 32;
    }
    x += chunks * n * Step::kChunk;
  }
  for (int64_t s = 0; s < n * kNm24GroupRows; ++s) sums[s] = Step::reduce(lanes + s * Step::kLanes);
}

constexpr int32_t natural_order(int32_t p) { return p; }

// Inputs are floats, values in their natural order.
template <class Step>
constexpr Nm24Kernel float_kernel(const char* name, WeightType type) {
  return {.name = name,
          .type = type,
          .chunk = Step::kChunk,
          .x_bytes = 4,
          .order = natural_order,
          .pack_chunk = pack_floats<Step::kChunk>,
          .multiply = multiply_group<Step>};
}

}  // namespace
}  // namespace prune::kernels
