// Scores of blocks: the sum of what their weights score.
#pragma once

#include <string>

#include <prune/order_key.h>
#include <prune/pattern.h>

namespace prune {

// One score for each block of a weight matrix W [rows, cols], for select(). A type of its own: a matrix
// always means one score a weight.
struct BlockScores {
  Block block;            // R x C
  Matrix<double> values;  // [rows / R, cols / C]
};

namespace score {

// values[i, j] = sum of score(W[i * R + r, j * C + c]) over r < R, c < C, summed in double, left to right and
// top to bottom. W [rows, cols] must be a multiple of the block R x C. `score` maps a weight to a double.
// Throws Error(kUsage) for a block that is none; Error(kInput) for a shape that can't take it, and for a sum
// that is NaN, saying where the block starts.
template <RowMajorMatrix M, class Score>
BlockScores block_sum(const M& weights, Block block, Score score) {
  require_fit(block, weights.rows(), weights.cols());
  const auto w = view(weights);
  Matrix<double> sums = Matrix<double>::Zero(w.rows() / block.rows, w.cols() / block.cols);
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    double* out = sums.data() + (i / block.rows) * sums.cols();
    for (Index j = 0; j < w.cols(); j += block.cols) {
      double sum = 0;
      for (Index c = 0; c < block.cols; ++c) sum += score(row[j + c]);
      out[j / block.cols] += sum;
    }
  }
  for (Index i = 0; i < sums.rows(); ++i) {
    for (Index j = 0; j < sums.cols(); ++j) {
      if (!is_nan(sums(i, j))) continue;
      throw_input("the score of the block at row " + std::to_string(i * block.rows) + ", column " +
                  std::to_string(j * block.cols) + " is NaN");
    }
  }
  return {block, std::move(sums)};
}

}  // namespace score
}  // namespace prune
