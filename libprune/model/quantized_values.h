// Values of packed weights as int8, symmetric with one scale per output row:
//
//   scale_r = max_k |W[r][k]| / 127,   q = round(w / scale_r) in [-127, 127],   W ~ scale_r q
//
// Rounding is to nearest, ties to even. A row of zeros has scale 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>
#include <prune/packed.h>

namespace prune {

inline constexpr float kLargestInt8 = 127;

// Calls visit(row, begin, end) for runs of values that belong to one row of W.
template <class T, class Visit>
void for_each_run(const NmPacked<T>& packed, Visit&& visit) {
  const size_t per_row = size_t(packed.cols / packed.pattern.group * packed.pattern.keep);
  for (size_t row = 0; row < size_t(packed.rows); ++row) visit(row, row * per_row, (row + 1) * per_row);
}
template <class T, class Visit>
void for_each_run(const BitmaskPacked<T>& packed, Visit&& visit) {
  for (size_t row = 0; row < size_t(packed.rows); ++row)
    visit(row, size_t(packed.row_offsets[row]), size_t(packed.row_offsets[row + 1]));
}
template <class T, class Visit>
void for_each_run(const Csr<T>& packed, Visit&& visit) {
  for (size_t row = 0; row < size_t(packed.rows); ++row)
    visit(row, size_t(packed.indptr[row]), size_t(packed.indptr[row + 1]));
}
template <class T, class Visit>
void for_each_run(const Bsr<T>& packed, Visit&& visit) {
  const size_t height = size_t(packed.block.rows), width = size_t(packed.block.cols);
  for (size_t strip = 0; strip + 1 < packed.indptr.size(); ++strip) {
    for (size_t b = size_t(packed.indptr[strip]); b < size_t(packed.indptr[strip + 1]); ++b) {
      for (size_t r = 0; r < height; ++r)
        visit(strip * height + r, (b * height + r) * width, (b * height + r + 1) * width);
    }
  }
}

// Scales of the rows of W. Throws Error(kInput) for a weight that is not finite, or beyond floats.
template <class T>
std::vector<float> row_scales(ConstView<T> weights) {
  std::vector<float> scales;
  for (Index i = 0; i < weights.rows(); ++i) {
    float largest = 0;
    for (Index j = 0; j < weights.cols(); ++j) {
      const float magnitude = std::abs(float(weights.data()[i * weights.outerStride() + j]));
      if (!std::isfinite(magnitude)) {
        throw_input("row " + std::to_string(i) + ", column " + std::to_string(j) +
                    ": a weight that is not finite can't be stored as int8");
      }
      largest = std::max(largest, magnitude);
    }
    scales.push_back(largest / kLargestInt8);
  }
  return scales;
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

// scales [rows]. P: any packed matrix of floating-point values.
template <class P>
auto quantize(const P& packed, const std::vector<float>& scales) {
  std::vector<int8_t> values(packed.values.size());
  for_each_run(packed, [&](size_t row, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) values[i] = to_int8(float(packed.values[i]), scales[row]);
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
auto dequantize(const P& packed, const std::vector<float>& scales) {
  std::vector<T> values(packed.values.size());
  for_each_run(packed, [&](size_t row, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) values[i] = rounded<T>(scales[row] * float(packed.values[i]));
  });
  return with_values(packed, std::move(values));
}

}  // namespace prune
