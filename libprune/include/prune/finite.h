// The check that a matrix is all numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include <prune/error.h>
#include <prune/matrix.h>
#include <prune/order_key.h>

namespace prune::detail {

// Row i from column `begin` on. Throws Error(kInput) for NaN and infinity: which of the two, and where.
inline void require_finite_row(const ConstView<float>& matrix, Index i, Index begin, const char* name) {
  const float* row = matrix.data() + i * matrix.outerStride();
  bool bad = false;
  for (Index j = begin; j < matrix.cols(); ++j) bad |= !std::isfinite(row[j]);  // no early end: it vectorises
  if (!bad) return;
  const auto is_bad = [](float v) { return !std::isfinite(v); };
  const Index j = std::find_if(row + begin, row + matrix.cols(), is_bad) - row;
  throw_input(std::string(name) + ": " + (is_nan(row[j]) ? "NaN" : "infinity") + " at row " +
              std::to_string(i) + ", column " + std::to_string(j));
}

inline void require_finite(const ConstView<float>& matrix, const char* name) {
  for (Index i = 0; i < matrix.rows(); ++i) require_finite_row(matrix, i, 0, name);
}

// On the diagonal and above alone.
inline void require_finite_upper(const ConstView<float>& matrix, const char* name) {
  for (Index i = 0; i < matrix.rows(); ++i) require_finite_row(matrix, i, i, name);
}

}  // namespace prune::detail
