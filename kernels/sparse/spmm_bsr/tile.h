// The algorithms of spmm_bsr/kernel.h, against a vector type V of simd/.
#pragma once

#include <cstdint>

#include "kernels/sparse/simd/panel.h"
#include "kernels/sparse/spmm_bsr/kernel.h"

namespace prune::kernels {
namespace {

// One strip against NV vectors of columns.
template <class V, int NV, int Stride>
PRUNE_INLINE void multiply_strip(const float* values, const int32_t* block_columns, int64_t blocks,
                                 int64_t block_cols, const float* panel, float* tile) {
  using Reg = typename V::Reg;
  Reg acc[kBsrTileRows][NV];
#pragma GCC unroll 8
  for (int r = 0; r < kBsrTileRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = V::zero();
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const float* row = panel + block_columns[b] * block_cols * Stride;
    for (int64_t j = 0; j < block_cols; ++j, row += Stride, values += kBsrTileRows) {
      Reg x[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) x[v] = V::load(row + v * V::kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < kBsrTileRows; ++r) {
        const Reg w = V::broadcast(values + r);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[r][v] = V::fma(w, x[v], acc[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kBsrTileRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) V::store(tile + r * Stride + v * V::kWidth, acc[r][v]);
  }
}

// Columns by the widest tile, then by narrower ones. A strip's weights are in cache after the first.
template <class V, int NV, int Stride>
void multiply_tile(const void* packed_values, const int32_t* block_columns, int64_t blocks,
                   int64_t block_cols, const void* packed, int64_t columns, float* tile) {
  const float* values = static_cast<const float*>(packed_values);
  const float* panel = static_cast<const float*>(packed);
  const int64_t vectors = (columns + V::kWidth - 1) / V::kWidth;
  for (int64_t v = 0; v < vectors;) {
    const float* x = panel + v * V::kWidth;
    float* out = tile + v * V::kWidth;
    const int64_t left = vectors - v;
    // NOLINTBEGIN(bugprone-branch-clone): NV is 2 on some processors
    // Four left of three-vector tiles go as two and two: one vector alone would wait for its own sums.
    if (left >= NV && left != NV + 1) {
      multiply_strip<V, NV, Stride>(values, block_columns, blocks, block_cols, x, out);
      v += NV;
    } else if (left >= 2) {
      multiply_strip<V, 2, Stride>(values, block_columns, blocks, block_cols, x, out);
      v += 2;
    } else {
      multiply_strip<V, 1, Stride>(values, block_columns, blocks, block_cols, x, out);
      v += 1;
    }
    // NOLINTEND(bugprone-branch-clone)
  }
}

template <class V, int NV, int Tiles>
constexpr BsrTileKernel make_bsr_tile_kernel(const char* name) {
  constexpr int kStride = NV * Tiles * V::kWidth;
  return {.name = name,
          .bf16 = false,
          .panel = make_panel_code<V, kStride>(),
          .multiply = multiply_tile<V, NV, kStride>};
}

// B rows of X against one strip; U inputs go to separate sums, so that they need not wait for each other.
template <class V, class T, int B, int U>
PRUNE_INLINE void multiply_few(const T* values, const int32_t* block_columns, int64_t blocks,
                               int64_t block_cols, const float* x, int64_t x_stride, float* sums) {
  using Reg = typename V::Reg;
  Reg acc[U][B];
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u) {
#pragma GCC unroll 8
    for (int i = 0; i < B; ++i) acc[u][i] = V::zero();
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const float* in = x + block_columns[b] * block_cols;
    int64_t j = 0;
    for (; j + U <= block_cols; j += U, values += U * V::kWidth) {
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) {
        const Reg w = V::widen(values + u * V::kWidth);
#pragma GCC unroll 8
        for (int i = 0; i < B; ++i) acc[u][i] = V::fma(w, V::broadcast(in + i * x_stride + j + u), acc[u][i]);
      }
    }
    for (; j < block_cols; ++j, values += V::kWidth) {
      const Reg w = V::widen(values);
#pragma GCC unroll 8
      for (int i = 0; i < B; ++i) acc[0][i] = V::fma(w, V::broadcast(in + i * x_stride + j), acc[0][i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < B; ++i) {
    Reg sum = acc[0][i];
#pragma GCC unroll 8
    for (int u = 1; u < U; ++u) sum = V::add(sum, acc[u][i]);
    V::store(sums + i * V::kWidth, sum);
  }
}

template <class V, class T>
void multiply_few_rows(const void* packed, const int32_t* block_columns, int64_t blocks, int64_t block_cols,
                       const float* x, int64_t x_stride, int64_t n, float* sums) {
  const T* values = static_cast<const T*>(packed);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    multiply_few<V, T, 4, 2>(values, block_columns, blocks, block_cols, x + i * x_stride, x_stride,
                             sums + i * V::kWidth);
  }
  for (; i + 2 <= n; i += 2) {
    multiply_few<V, T, 2, 4>(values, block_columns, blocks, block_cols, x + i * x_stride, x_stride,
                             sums + i * V::kWidth);
  }
  if (i < n) {
    multiply_few<V, T, 1, 8>(values, block_columns, blocks, block_cols, x + i * x_stride, x_stride,
                             sums + i * V::kWidth);
  }
}

template <class V, class T>
constexpr BsrFewKernel make_bsr_few_kernel(const char* name, WeightType type) {
  return {.name = name, .type = type, .strip_rows = V::kWidth, .multiply = multiply_few_rows<V, T>};
}

}  // namespace
}  // namespace prune::kernels
