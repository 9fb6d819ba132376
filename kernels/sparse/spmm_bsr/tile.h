// The algorithms of spmm_bsr/kernel.h, against a vector type V of simd/.
#pragma once

#include <cstdint>

#include "kernels/sparse/simd/panel.h"
#include "kernels/sparse/simd/prefetch.h"
#include "kernels/sparse/spmm_bsr/kernel.h"

namespace prune::kernels {
namespace {

// How the weights of an input, of two in bf16 or of four in bytes multiply its row of the panel. A strip
// begins with kHeadWords words of 32 bits for every row, of which Product::begin makes what the row's sums
// begin at.
template <class V>
struct FloatProduct {
  using Reg = typename V::Reg;
  static constexpr int kInputs = 1, kHeadWords = 0;
  static PRUNE_INLINE Reg begin(const float* /*head*/, int /*row*/) { return V::zero(); }
  static PRUNE_INLINE Reg multiply(Reg x, Reg w, Reg acc) { return V::fma(w, x, acc); }
};

// The next four rows' worth of products: R - 4 Q rows are left.
template <class V, class Product, int R, int NV, int Q = 0>
PRUNE_INLINE void multiply_input(const float* values, typename V::Reg (&x)[NV],
                                 typename V::Reg (&acc)[R][NV]) {
  const auto w = V::load_four(values + 4 * Q);
  const auto multiply_row = [&]<int I>() __attribute__((always_inline)) {
    const auto weight = V::template spread<I>(w);
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[4 * Q + I][v] = Product::multiply(x[v], weight, acc[4 * Q + I][v]);
  };
  multiply_row.template operator()<0>();
  multiply_row.template operator()<1>();
  multiply_row.template operator()<2>();
  multiply_row.template operator()<3>();
  if constexpr (4 * Q + 4 < R) multiply_input<V, Product, R, NV, Q + 1>(values, x, acc);
}

// One strip of R rows against NV vectors of columns. `steps` is the inputs, or pairs of inputs, of a block.
template <class V, class Product, int R, int NV, int Stride>
PRUNE_INLINE void multiply_strip(const float* values, const int32_t* block_columns, int64_t blocks,
                                 int64_t steps, const float* head, const float* panel, float* tile) {
  using Reg = typename V::Reg;
  Reg acc[R][NV];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = Product::begin(head, r);
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const float* row = panel + block_columns[b] * steps * Stride;
    // Which block comes next no hardware can guess.
    const float* ahead = panel + block_columns[b + 2 < blocks ? b + 2 : b] * steps * Stride;
    for (int64_t j = 0; j < steps; ++j, row += Stride, ahead += Stride, values += R) {
      prefetch_ahead(values);
      Reg x[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        x[v] = V::load(row + v * V::kWidth);
        V::keep(x[v]);
        if (v * V::kWidth % 16 == 0) __builtin_prefetch(ahead + v * V::kWidth);
      }
      multiply_input<V, Product, R, NV>(values, x, acc);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) V::store(tile + r * Stride + v * V::kWidth, acc[r][v]);
  }
}

// Columns by the widest tile, then by narrower ones. A strip's weights are in cache after the first.
template <class V, class Product, int R, int NV, int Stride>
void multiply_tile(const void* strip, const int32_t* block_columns, int64_t blocks, int64_t block_cols,
                   const void* packed, int64_t columns, float* tile) {
  const float* head = static_cast<const float*>(strip);
  const float* values = head + R * Product::kHeadWords;
  const float* panel = static_cast<const float*>(packed);
  const int64_t vectors = (columns + V::kWidth - 1) / V::kWidth, steps = block_cols / Product::kInputs;
  for (int64_t v = 0; v < vectors;) {
    const float* x = panel + v * V::kWidth;
    float* out = tile + v * V::kWidth;
    const int64_t left = vectors - v;
    // NOLINTBEGIN(bugprone-branch-clone): NV is 2 on some processors
    // Four left of three-vector tiles go as two and two: one vector alone would wait for its own sums.
    if (left >= NV && left != NV + 1) {
      multiply_strip<V, Product, R, NV, Stride>(values, block_columns, blocks, steps, head, x, out);
      v += NV;
    } else if (left >= 2) {
      multiply_strip<V, Product, R, 2, Stride>(values, block_columns, blocks, steps, head, x, out);
      v += 2;
    } else {
      multiply_strip<V, Product, R, 1, Stride>(values, block_columns, blocks, steps, head, x, out);
      v += 1;
    }
    // NOLINTEND(bugprone-branch-clone)
  }
}

template <class V, class Product, int R, int NV, int Tiles>
constexpr BsrTileKernel make_bsr_tile_kernel(const char* name, const PanelCode& panel,
                                             decltype(BsrTileKernel::begin) begin = nullptr) {
  return {.name = name,
          .inputs_together = Product::kInputs,
          .strip_rows = R,
          .panel = panel,
          .head_bytes = R * Product::kHeadWords * 4,
          .begin = begin,
          .multiply = multiply_tile<V, Product, R, NV, NV * Tiles * V::kWidth>};
}

// Floats, strips of R rows against Tiles times NV vectors.
template <class V, int R, int NV, int Tiles>
constexpr BsrTileKernel make_float_bsr_tile_kernel(const char* name) {
  return make_bsr_tile_kernel<V, FloatProduct<V>, R, NV, Tiles>(name,
                                                                make_panel_code<V, NV * Tiles * V::kWidth>());
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
