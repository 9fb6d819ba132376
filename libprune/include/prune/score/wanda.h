// Wanda: a weight is worth what it adds to its output on average, |w| times the size of its input.
//
// Sun, Liu, Bair, Kolter, "A Simple and Effective Pruning Approach for Large Language Models",
// arXiv 2306.11695.
#pragma once

#include <cmath>
#include <string>
#include <type_traits>

#include <prune/score/blocks.h>
#include <prune/select.h>

namespace prune {

namespace detail {

inline void require_mean_square(const Eigen::VectorXd& mean_square, Index inputs) {
  if (mean_square.size() != inputs) {
    throw_usage("mean squares of " + std::to_string(mean_square.size()) + " inputs for weights with " +
                std::to_string(inputs) + " columns");
  }
  for (Index j = 0; j < inputs; ++j) {
    if (mean_square[j] >= 0 && std::isfinite(mean_square[j])) continue;
    throw_input("mean square of input " + std::to_string(j) + " is " + short_number(mean_square[j]) +
                ": expected a finite number, not negative");
  }
}

// Scores of weights of type T: in double where the weights are.
template <class T>
using ScoreOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace detail

namespace score {

// |W_ij| sqrt(mean over tokens of x_j^2), in float, or double for double weights. W [out, in]; mean_square
// [in] is ColumnNorms::mean_square() or Gram's. On an input that is always 0 every weight scores 0, an
// infinite one too; NaN stays NaN (select() refuses it). Throws Error(kUsage) for another number of inputs,
// Error(kInput) for a mean square that is none.
template <RowMajorMatrix M>
auto wanda(const M& weights, const Eigen::VectorXd& mean_square) {
  using Score = detail::ScoreOf<typename M::Scalar>;
  detail::require_mean_square(mean_square, weights.cols());
  const auto w = view(weights);
  const Eigen::VectorXd norm = mean_square.cwiseSqrt();
  Matrix<Score> scores(w.rows(), w.cols());
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    for (Index j = 0; j < w.cols(); ++j) {
      const double size = std::abs(as_double(row[j]));
      scores(i, j) = Score(norm[j] == 0 && std::isinf(size) ? 0 : size * norm[j]);
    }
  }
  return scores;
}

}  // namespace score

// The mask of score::wanda as the paper selects: unstructured, every row (output) loses the same share; N:M,
// the N largest of every M; a block is worth the sum of its squared scores, and the blocks of the layer
// compete. Throws as score::wanda() and select().
template <RowMajorMatrix M>
Mask select_wanda(const M& weights, const Eigen::VectorXd& mean_square, const Pattern& pattern,
                  double sparsity) {
  const auto scores = score::wanda(weights, mean_square);
  const Block* block = std::get_if<Block>(&pattern);
  if (block == nullptr) return select(scores, pattern, sparsity, Scope::kRow);
  detail::refuse_nan(view(scores));
  return select(score::block_sum(scores, *block, [](auto s) { return double(s) * double(s); }), sparsity);
}

}  // namespace prune
