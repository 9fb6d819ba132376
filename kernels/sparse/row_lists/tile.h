// The float algorithm of row_lists/kernel.h, against a vector type V of simd/. R rows x NV vectors of
// accumulators stay in registers over the lists of one group and block.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/sparse/row_lists/kernel.h"
#include "kernels/sparse/simd/panel.h"

namespace prune::kernels {
namespace {

template <class V, int R, int NV>
struct ListTile {
  using Reg = typename V::Reg;
  static constexpr int kPatterns = (1 << R) - 1;

  Reg acc[R][NV];
  const uint16_t* counts;
  const uint16_t* offsets;
  const float* values;

  template <int Pattern>
  PRUNE_INLINE void run_list(const char* panel) {
    for (uint32_t left = *counts++; left != 0; --left) {
      const float* row = reinterpret_cast<const float*>(panel + *offsets++);
      // The weights first: they are few, and each vector of the panel is then needed but once.
      Reg w[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        if ((Pattern >> r & 1) != 0) w[r] = V::broadcast(values++);
      }
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        const Reg x = V::load(row + v * V::kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          if ((Pattern >> r & 1) != 0) acc[r][v] = V::fma(w[r], x, acc[r][v]);
        }
      }
    }
  }

  template <int... I>
  PRUNE_INLINE void run_lists(const char* panel, std::integer_sequence<int, I...>) {
    (run_list<I + 1>(panel), ...);
  }

  PRUNE_INLINE void run_group(const char* panel, bool first, int64_t stride, float* tile) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        acc[r][v] = first ? V::zero() : V::load(tile + r * stride + v * V::kWidth);
      }
    }
    run_lists(panel, std::make_integer_sequence<int, kPatterns>{});
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) V::store(tile + r * stride + v * V::kWidth, acc[r][v]);
    }
  }
};

template <class V, int R, int NV, int Stride, int K>
void multiply_lists(const ListStream& stream, const void* panel, float* tile) {
  ListTile<V, R, NV> state;
  state.counts = stream.counts;
  state.offsets = stream.offsets;
  state.values = static_cast<const float*>(stream.values);
  const char* block_panel = static_cast<const char*>(panel);
  for (int64_t b = 0; b < stream.blocks; ++b, block_panel += int64_t{K} * Stride * 4) {
    for (int64_t g = 0; g < stream.groups; ++g) {
      state.run_group(block_panel, b == 0, Stride, tile + g * R * Stride);
    }
  }
}

// Picks the code for the number of vectors that the columns fill, from MaxNV down.
template <class V, int R, int MaxNV, int NV, int K>
void multiply_columns(const ListStream& stream, const void* panel, int64_t columns, float* tile) {
  if constexpr (NV > 1) {
    if (columns <= (NV - 1) * V::kWidth) {
      return multiply_columns<V, R, MaxNV, NV - 1, K>(stream, panel, columns, tile);
    }
  }
  multiply_lists<V, R, NV, MaxNV * V::kWidth, K>(stream, panel, tile);
}

template <class V, int R, int NV, int K>
constexpr RowListsKernel make_row_lists_kernel(const char* name) {
  constexpr int kStride = NV * V::kWidth;
  static_assert(K * kStride * 4 <= 65536, "offsets are 16 bits");
  static_assert(kListChunkRows % R == 0);
  return {.name = name,
          .bf16 = false,
          .group_rows = R,
          .block_inputs = K,
          .panel = make_panel_code<V, kStride>(),
          .multiply = multiply_columns<V, R, NV, NV, K>};
}

}  // namespace
}  // namespace prune::kernels
