// Selection the obvious way: sort all candidates, larger first and earlier first among equals, and keep the
// head.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "test/libprune/include/values.h"

namespace prune::testing {

inline constexpr double kSparsities[] = {0.0, 1.0 / 3, 0.5, 0.7, 0.999};

// How many of n go: the product in double, cut to a whole number.
inline int64_t pruned_of(int64_t n, double sparsity) { return int64_t(double(n) * sparsity); }

template <class M>
std::vector<double> values_in_order(const M& m) {
  std::vector<double> values;
  for (Index i = 0; i < m.rows(); ++i) {
    for (Index j = 0; j < m.cols(); ++j) values.push_back(value_of(m(i, j)));
  }
  return values;
}

// true for the `keep` largest; of equal ones the first.
inline std::vector<bool> keep_largest(const std::vector<double>& values, int64_t keep) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  std::vector<bool> kept(values.size());
  for (int64_t i = 0; i < keep; ++i) kept[order[size_t(i)]] = true;
  return kept;
}

// The mask whose every stretch of `stretch` candidates in row-major order keeps `keep` of its own.
inline Mask keep_in_stretches(const std::vector<double>& values, Index rows, Index cols, Index stretch,
                              Index keep) {
  Mask mask(rows, cols);
  for (Index at = 0; at < rows * cols; at += stretch) {
    const std::vector<double> part(values.begin() + at, values.begin() + at + stretch);
    const std::vector<bool> kept = keep_largest(part, keep);
    for (Index k = 0; k < stretch; ++k) mask.set((at + k) / cols, (at + k) % cols, kept[size_t(k)]);
  }
  return mask;
}

template <class M>
Mask reference_select(const M& scores, double sparsity, Scope scope) {
  const Index stretch = scope == Scope::kRow ? scores.cols() : scores.size();
  return keep_in_stretches(values_in_order(scores), scores.rows(), scores.cols(), stretch,
                           stretch - pruned_of(stretch, sparsity));
}

template <class M>
Mask reference_select(const M& scores, NM pattern) {
  return keep_in_stretches(values_in_order(scores), scores.rows(), scores.cols(), pattern.group,
                           pattern.keep);
}

// A mask of blocks, bit by bit.
inline Mask reference_expand(const Mask& blocks, Block block) {
  Mask mask(blocks.rows() * block.rows, blocks.cols() * block.cols);
  for (Index i = 0; i < mask.rows(); ++i) {
    for (Index j = 0; j < mask.cols(); ++j) mask.set(i, j, blocks(i / block.rows, j / block.cols));
  }
  return mask;
}

inline ::testing::AssertionResult same_mask(const Mask& a, const Mask& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return ::testing::AssertionFailure() << "shapes differ";
  for (Index i = 0; i < a.rows(); ++i) {
    for (Index j = 0; j < a.cols(); ++j) {
      if (a(i, j) != b(i, j)) {
        return ::testing::AssertionFailure() << "row " << i << ", column " << j << " of " << a.rows() << " x "
                                             << a.cols() << ": " << a(i, j) << " is not " << b(i, j);
      }
    }
  }
  if (a != b) return ::testing::AssertionFailure() << "bits behind the last column differ";
  return ::testing::AssertionSuccess();
}

}  // namespace prune::testing
