// What groups of neighbouring columns of a weight matrix are worth: the inputs that a whole unit feeds it, an
// FFN channel into the contracting layer or a head into the output of attention.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <prune/error.h>
#include <prune/layer_error.h>

namespace prune {

namespace detail {

inline void require_groups(Index columns, Index width) {
  if (width > 0 && columns % width == 0) return;
  throw_usage("column groups of " + std::to_string(width) + " do not tile " + std::to_string(columns) +
              " columns");
}

}  // namespace detail

namespace score {

// tr(W_C G_CC W_C^T) of each group C of `width` columns, the energy that it adds to the outputs alone: with
// width 1, |w_j|^2 times the sum of squares of input j (Wanda for a column). W [out, in], G [in, in] full and
// symmetric. Throws as layer_error(), and Error(kUsage) where the groups do not tile the columns.
inline std::vector<double> column_energy(const ConstView<float>& weights, const ConstView<float>& gram,
                                         Index width = 1) {
  detail::require_groups(weights.cols(), width);
  detail::require_layer(weights, gram, LayerTarget{weights, std::nullopt, 0});
  std::vector<double> energy;
  for (Index at = 0; at < weights.cols(); at += width) {
    const Eigen::MatrixXd w = weights.middleCols(at, width).cast<double>();
    energy.push_back((w * gram.block(at, at, width, width).cast<double>()).cwiseProduct(w).sum());
  }
  return energy;
}

}  // namespace score
}  // namespace prune
