// The check that a matrix is all numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include <prune/error.h>
#include <prune/matrix.h>
#include <prune/order_key.h>

namespace prune::detail {

// Throws Error(kInput) for NaN and infinity: which of the two, and where.
inline void require_finite(const ConstView<float>& matrix, const char* name) {
  for (Index i = 0; i < matrix.rows(); ++i) {
    const float* row = matrix.data() + i * matrix.outerStride();
    bool bad = false;
    for (Index j = 0; j < matrix.cols(); ++j) bad |= !std::isfinite(row[j]);  // no early end: it vectorises
    if (!bad) continue;
    const Index j = std::find_if(row, row + matrix.cols(), [](float v) { return !std::isfinite(v); }) - row;
    throw_input(std::string(name) + ": " + (is_nan(row[j]) ? "NaN" : "infinity") + " at row " +
                std::to_string(i) + ", column " + std::to_string(j));
  }
}

}  // namespace prune::detail
