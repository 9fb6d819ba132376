// Values of packed weights as int8, symmetric with one scale per output row, or per group of its columns:
//
//   scale_r = max_k |W[r][k]| / 127,   q = round(w / scale_r) in [-127, 127],   W ~ scale_r q
//
// Rounding is to nearest, ties to even. A row (a group) of zeros has scale 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>
#include <prune/packed_windows.h>

#include "libprune/model/scale_grid.h"

namespace prune {

inline constexpr float kLargestInt8 = 127;

// Calls visit(row, column, i) for every stored value i of W.
template <class T, class Visit>
void for_each_value(const NmPacked<T>& packed, Visit&& visit) {
  const auto [keep, group] = packed.pattern;
  const Index row_bytes = index_bytes_per_row(packed.pattern, packed.cols);
  const int width = index_bits(group);
  size_t i = 0;
  for (Index row = 0; row < packed.rows; ++row) {
    detail::BitReader indices(packed.indices.data() + row * row_bytes);
    for (Index left = 0; left < packed.cols; left += group) {
      for (int t = 0; t < keep; ++t) visit(row, left + Index(indices.get(width)), i++);
    }
  }
}
template <class T, class Visit>
void for_each_value(const BitmaskPacked<T>& packed, Visit&& visit) {
  const Index row_bytes = (packed.cols + 7) / 8;
  for (Index row = 0; row < packed.rows; ++row) {
    const uint8_t* bits = packed.bitmask.data() + row * row_bytes;
    auto i = size_t(packed.row_offsets[size_t(row)]);
    for (Index j = 0; j < packed.cols; ++j) {
      if (bits[j / 8] >> (j % 8) & 1) visit(row, j, i++);
    }
  }
}
template <class T, class Visit>
void for_each_value(const Csr<T>& packed, Visit&& visit) {
  for (Index row = 0; row < packed.rows; ++row) {
    for (auto i = size_t(packed.indptr[size_t(row)]); i < size_t(packed.indptr[size_t(row) + 1]); ++i)
      visit(row, Index(packed.indices[i]), i);
  }
}
template <class T, class Visit>
void for_each_value(const Bsr<T>& packed, Visit&& visit) {
  const auto [height, width] = packed.block;
  for (size_t strip = 0; strip + 1 < packed.indptr.size(); ++strip) {
    for (auto b = size_t(packed.indptr[strip]); b < size_t(packed.indptr[strip + 1]); ++b) {
      for (Index r = 0; r < height; ++r) {
        for (Index c = 0; c < width; ++c) {
          visit(Index(strip) * height + r, Index(packed.indices[b]) * width + c,
                (b * size_t(height) + size_t(r)) * size_t(width) + size_t(c));
        }
      }
    }
  }
}

// The scales of rows, or of groups of `group` columns. Throws Error(kInput) for a weight that is not finite,
// or beyond floats.
template <class T>
ScaleGrid find_scales(ConstView<T> weights, Index group) {
  const Index per_row = scales_per_row(weights.cols(), group), width = group == 0 ? weights.cols() : group;
  ScaleGrid grid{group, per_row, std::vector<float>(size_t(weights.rows() * per_row))};
  for (Index i = 0; i < weights.rows(); ++i) {
    for (Index j = 0; j < weights.cols(); ++j) {
      const float magnitude = std::abs(float(weights.data()[i * weights.outerStride() + j]));
      if (!std::isfinite(magnitude)) {
        throw_input("row " + std::to_string(i) + ", column " + std::to_string(j) +
                    ": a weight that is not finite can't be stored as int8");
      }
      float& largest = grid.values[size_t(i * per_row + j / width)];
      largest = std::max(largest, magnitude);
    }
  }
  for (float& scale : grid.values) scale /= kLargestInt8;
  return grid;
}

inline int8_t to_int8(float weight, float scale) {
  if (scale == 0) return 0;
  return int8_t(std::clamp(std::nearbyint(weight / scale), -kLargestInt8, kLargestInt8));
}

// The same places, other values.
template <class To, class From>
NmPacked<To> with_values(const NmPacked<From>& p, std::vector<To> values) {
  return {p.pattern, p.rows, p.cols, std::move(values), p.indices};
}
template <class To, class From>
BitmaskPacked<To> with_values(const BitmaskPacked<From>& p, std::vector<To> values) {
  return {p.rows, p.cols, std::move(values), p.bitmask, p.row_offsets};
}
template <class To, class From>
Csr<To> with_values(const Csr<From>& p, std::vector<To> values) {
  return {p.rows, p.cols, std::move(values), p.indices, p.indptr};
}
template <class To, class From>
Bsr<To> with_values(const Bsr<From>& p, std::vector<To> values) {
  return {p.block, p.rows, p.cols, std::move(values), p.indices, p.indptr};
}

template <class To, class From>
WindowsPacked<To> with_values(const WindowsPacked<From>& p, std::vector<To> values) {
  return {p.steps, p.rows, p.cols, std::move(values), p.columns, p.tail_columns, p.tail_counts};
}

// Values of another type, rounded. Throws Error(kInput) for one beyond it.
template <class To, class P>
auto convert(const P& packed) {
  std::vector<To> values;
  values.reserve(packed.values.size());
  for (const auto& value : packed.values) {
    values.push_back(To(float(value)));
    if (!std::isfinite(float(values.back())) && std::isfinite(float(value)))
      throw_input("a weight is too large for the type that values are asked to be stored in");
  }
  return with_values(packed, std::move(values));
}

// P: any packed matrix of floating-point values.
template <class P>
auto quantize(const P& packed, const ScaleGrid& scales) {
  std::vector<int8_t> values(packed.values.size());
  for_each_value(packed, [&](Index row, Index column, size_t i) {
    values[i] = to_int8(float(packed.values[i]), scales.at(row, column));
  });
  return with_values(packed, std::move(values));
}

// The same places with the values of `rounded` [rows, cols], multiples of the scales but for the rounding of
// their own type, which is less than half of one.
template <class P, class T>
auto quantize(const P& packed, const ScaleGrid& scales, ConstView<T> rounded) {
  std::vector<int8_t> values(packed.values.size());
  for_each_value(packed, [&](Index row, Index column, size_t i) {
    values[i] = to_int8(float(rounded.data()[row * rounded.outerStride() + column]), scales.at(row, column));
  });
  return with_values(packed, std::move(values));
}

template <class T>
T rounded(float value) {
  if constexpr (sizeof(T) == 1) {
    throw_input("int8 values can't be made weights of an 8-bit floating-point type again");
  } else {
    return T(value);
  }
}

// T(scale q), rounded to T. P: any packed matrix of int8.
template <class T, class P>
auto dequantize(const P& packed, const ScaleGrid& scales) {
  std::vector<T> values(packed.values.size());
  for_each_value(packed, [&](Index row, Index column, size_t i) {
    values[i] = rounded<T>(scales.at(row, column) * float(packed.values[i]));
  });
  return with_values(packed, std::move(values));
}

}  // namespace prune
