// RIA: a weight is worth its share of its row and of its column, times a power of the size of its input.
//
// Zhang, Bai, Lin, Zhao, Hou, Cannistraci, "Plug-and-Play: An Efficient Post-training Pruning Method for
// Large Language Models", ICLR 2024.
#pragma once

#include <cmath>

#include <prune/score/wanda.h>

namespace prune::score {

// (|W_ij| / sum_k |W_kj| + |W_ij| / sum_k |W_ik|) (mean over tokens of x_j^2)^(power / 2), in float, or
// double for double weights; the weights of the whole layer compare. The paper takes the sum over tokens of
// x_j^2, which is the same order. The share in a row or column of zeros is 0. Arguments and errors as
// wanda(); also Error(kUsage) for a power that is negative, infinite or NaN, and Error(kInput) for NaN and
// infinite weights.
template <RowMajorMatrix M>
auto ria(const M& weights, const Eigen::VectorXd& mean_square, double power = 0.5) {
  using Score = detail::ScoreOf<typename M::Scalar>;
  detail::require_mean_square(mean_square, weights.cols());
  if (!(power >= 0 && std::isfinite(power))) {
    throw_usage("RIA: power " + detail::short_number(power) + ", expected a finite number, not negative");
  }
  const auto w = view(weights);
  const auto row = [&](Index i) { return w.data() + i * w.outerStride(); };
  Eigen::VectorXd row_sums = Eigen::VectorXd::Zero(w.rows());
  Eigen::VectorXd column_sums = Eigen::VectorXd::Zero(w.cols());
  for (Index i = 0; i < w.rows(); ++i) {
    for (Index j = 0; j < w.cols(); ++j) {
      const double magnitude = std::abs(as_double(row(i)[j]));
      if (!std::isfinite(magnitude)) {
        throw_input("a weight that is not finite at row " + std::to_string(i) + ", column " +
                    std::to_string(j));
      }
      row_sums[i] += magnitude;
      column_sums[j] += magnitude;
    }
  }
  const auto inverse = [](double sum) { return sum > 0 ? 1 / sum : 0.0; };
  const Eigen::VectorXd column_shares = column_sums.unaryExpr(inverse);
  const Eigen::VectorXd size = mean_square.array().pow(power / 2);
  Matrix<Score> scores(w.rows(), w.cols());
  for (Index i = 0; i < w.rows(); ++i) {
    const double row_share = inverse(row_sums[i]);
    for (Index j = 0; j < w.cols(); ++j) {
      scores(i, j) = Score(std::abs(as_double(row(i)[j])) * (row_share + column_shares[j]) * size[j]);
    }
  }
  return scores;
}

}  // namespace prune::score
