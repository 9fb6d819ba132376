// Turns activations into panels and tiles into results, against any vector type of simd/.
//
// A panel holds columns of X^T: panel[k][c] = x[c * ldx + k], with a fixed row stride. Kernels for many
// columns run on panels, because a row of it is contiguous over the batch.
#pragma once

#include <cstdint>

#include "kernels/sparse/many_rows.h"
#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

// panel[k * stride + c] = x[c * ldx + k] for k < depth and c < columns; columns up to the next multiple of
// the vector width become zero.
template <class V>
PRUNE_INLINE void pack_panel(const float* x, int64_t ldx, int64_t columns, int64_t depth, int64_t stride,
                             float* panel) {
  constexpr int kWidth = V::kWidth;
  for (int64_t c = 0; c < columns; c += kWidth) {
    const int64_t present = columns - c < kWidth ? columns - c : kWidth;
    int64_t k = 0;
    for (; k + kWidth <= depth; k += kWidth) {
      typename V::Reg r[kWidth];
      for (int i = 0; i < kWidth; ++i) r[i] = i < present ? V::load(x + (c + i) * ldx + k) : V::zero();
      V::transpose(r);
      for (int i = 0; i < kWidth; ++i) V::store(panel + (k + i) * stride + c, r[i]);
    }
    for (; k < depth; ++k) {
      for (int i = 0; i < kWidth; ++i) panel[k * stride + c + i] = i < present ? x[(c + i) * ldx + k] : 0.0f;
    }
  }
}

// Sums in a tile are floats, unless V says otherwise.
template <class V>
PRUNE_INLINE typename V::Reg load_sum(const float* p) {
  if constexpr (requires { V::load_sum(p); }) return V::load_sum(p);
  return V::load(p);
}
template <class V>
PRUNE_INLINE float read_sum(const float* p) {
  if constexpr (requires { V::read_sum(p); }) return V::read_sum(p);
  return *p;
}

// y[c * ldy + r] = tile[r * stride + c] * scales[r] * steps[c] + bias[r] for r < rows and c < columns.
// scales, steps and bias may be null. The tile is used up.
//
// Squares of it are transposed where they lie, so that a row of Y is then written from one end to the other.
// Sixteen rows of Y at once, a power of two apart, would meet in one set of the cache, and so would lines
// that are asked for more than some rows ahead.
template <class V>
PRUNE_INLINE void store_tile(float* tile, int64_t stride, int64_t rows, int64_t columns, const float* scales,
                             const float* steps, const float* bias, float* y, int64_t ldy) {
  constexpr int kWidth = V::kWidth;
  const int64_t whole = rows - rows % kWidth;
  for (int64_t c = 0; c < columns; c += kWidth) {
    for (int64_t r = 0; r < whole; r += kWidth) {
      typename V::Reg t[kWidth];
      for (int i = 0; i < kWidth; ++i) t[i] = load_sum<V>(tile + (r + i) * stride + c);
      V::transpose(t);
      for (int i = 0; i < kWidth; ++i) V::store(tile + (r + i) * stride + c, t[i]);
    }
    const int64_t present = columns - c < kWidth ? columns - c : kWidth;
    for (int64_t i = 0; i < present; ++i) {
      const float* sums = tile + i * stride + c;
      float* out = y + (c + i) * ldy;
      if (c + i + 2 < columns) {
        for (int64_t r = 0; r < whole; r += kWidth) __builtin_prefetch(out + 2 * ldy + r, 1);
      }
      const typename V::Reg step = steps != nullptr ? V::broadcast(steps + c + i) : V::zero();
      for (int64_t r = 0; r < whole; r += kWidth) {
        const typename V::Reg scale = scales != nullptr ? V::load(scales + r) : V::zero();
        const typename V::Reg shift = bias != nullptr ? V::load(bias + r) : V::zero();
        typename V::Reg sum = V::load(sums + r * stride);
        if (steps != nullptr) sum = V::fma(sum, step, V::zero());
        V::store(out + r, scales != nullptr ? V::fma(sum, scale, shift) : V::add(sum, shift));
      }
    }
    for (int64_t r = whole; r < rows; ++r) {
      const float scale = scales != nullptr ? scales[r] : 1.0f, shift = bias != nullptr ? bias[r] : 0.0f;
      for (int64_t i = 0; i < present; ++i) {
        const float step = steps != nullptr ? steps[c + i] : 1.0f;
        y[(c + i) * ldy + r] = read_sum<V>(tile + r * stride + c + i) * step * scale + shift;
      }
    }
  }
}

// Float panels of Stride columns.
template <class V, int Stride>
constexpr PanelCode make_panel_code() {
  return {
      .vector_columns = V::kWidth,
      .panel_columns = Stride,
      .input_bytes = 4,
      .pack = [](const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* /*steps*/,
                 void* panel) { pack_panel<V>(x, ldx, columns, depth, Stride, static_cast<float*>(panel)); },
      .store = [](float* tile, int64_t rows, int64_t columns, const float* scales, const float* steps,
                  const float* bias, float* y,
                  int64_t ldy) { store_tile<V>(tile, Stride, rows, columns, scales, steps, bias, y, ldy); },
  };
}

}  // namespace
}  // namespace prune::kernels
