// Scores of blocks: the sum of what their weights score.
#pragma once

#include <prune/pattern.h>

namespace prune::score {

// B[i, j] = sum of score(W[i * R + r, j * C + c]) over r < R, c < C: one score for each block of `block` = R
// x C, summed in double, left to right and top to bottom. W [rows, cols] must be a multiple of the block.
// `score` maps a weight to a double. Throws Error(kInput) for a shape that can't take the pattern and for a
// sum that is NaN, saying where the block starts.
template <RowMajorMatrix M, class Score>
Matrix<double> block_sum(const M& weights, Block block, Score score) {
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
  return sums;
}

}  // namespace prune::score
