// Random layers and their errors in double, row by row and by the textbook.
#pragma once

#include <random>
#include <vector>

#include <Eigen/Cholesky>

#include <prune/layer_error.h>
#include <prune/mask.h>

#include "test/libprune/include/calibration.h"
#include "test/libprune/include/values.h"

namespace prune::testing {

struct Layer {
  Matrix<float> weights;  // dense
  Matrix<float> inputs;   // [tokens, in]
  Matrix<float> gram;

  LayerTarget target() const { return {view(weights), std::nullopt, 0}; }
};

inline Matrix<float> gram_of(const Matrix<float>& inputs) {
  return (inputs.cast<double>().transpose() * inputs.cast<double>()).cast<float>();
}

// Inputs that are correlated and of different sizes, as those of a real layer.
inline Layer random_layer(Index out, Index in, std::mt19937& rng) {
  Layer layer;
  layer.weights = normal_matrix(out, in, rng);
  layer.inputs = normal_matrix(4 * in, in, rng);
  for (Index j = 1; j < in; ++j) layer.inputs.col(j) += 0.8f * layer.inputs.col(j - 1);
  for (Index j = 0; j < in; ++j) layer.inputs.col(j) *= 0.2f + float(j % 7);
  layer.gram = gram_of(layer.inputs);
  return layer;
}

template <class M>
View<float> mutable_view(M& m) {
  return view(m.data(), m.rows(), m.cols());
}

// The sum of squared errors of one row's outputs over the inputs.
inline double row_error(const Layer& layer, const Matrix<float>& weights, Index i) {
  const Eigen::VectorXd difference =
      (weights.row(i).cast<double>() - layer.weights.row(i).cast<double>()).transpose();
  return (layer.inputs.cast<double>() * difference).squaredNorm();
}

inline double total_error(const Layer& layer, const Matrix<float>& weights) {
  double sum = 0;
  for (Index i = 0; i < weights.rows(); ++i) sum += row_error(layer, weights, i);
  return sum;
}

inline double output_energy(const Layer& layer) {
  return (layer.inputs.cast<double>() * layer.weights.cast<double>().transpose()).squaredNorm();
}

// The minimum over each row's support, solved exactly: (H_SS)^-1 (b + lambda w)_S.
inline Matrix<double> exact_refit(const Matrix<float>& dense, const Matrix<double>& rhs,
                                  const Matrix<float>& gram, const Mask& mask, double damping) {
  const double lambda = damping * gram.cast<double>().diagonal().mean();
  Matrix<double> result = Matrix<double>::Zero(dense.rows(), dense.cols());
  for (Index i = 0; i < dense.rows(); ++i) {
    std::vector<Index> kept;
    for (Index j = 0; j < dense.cols(); ++j) {
      if (mask(i, j)) kept.push_back(j);
    }
    const Index n = Index(kept.size());
    Eigen::MatrixXd h(n, n);
    Eigen::VectorXd b(n);
    for (Index a = 0; a < n; ++a) {
      for (Index c = 0; c < n; ++c)
        h(a, c) = double(gram(kept[size_t(a)], kept[size_t(c)])) + (a == c ? lambda : 0);
      b[a] = rhs(i, kept[size_t(a)]) + lambda * double(dense(i, kept[size_t(a)]));
    }
    const Eigen::VectorXd solution = h.ldlt().solve(b);
    for (Index a = 0; a < n; ++a) result(i, kept[size_t(a)]) = solution[a];
  }
  return result;
}

inline Matrix<double> rhs_of(const Layer& layer) {
  return layer.weights.cast<double>() * layer.gram.cast<double>();
}

}  // namespace prune::testing
