// Inputs of a layer as calibration sees them, and the Gram matrix in double.
#pragma once

#include <random>

#include "test/libprune/include/values.h"

namespace prune::testing {

inline Matrix<float> normal_matrix(Index rows, Index cols, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  Matrix<float> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = normal(rng);
  return m;
}

// Tokens [n, in] whose columns are correlated and of very different size, as in a transformer.
inline Matrix<float> correlated_inputs(Index tokens, Index inputs, std::mt19937& rng) {
  const Matrix<float> own = normal_matrix(tokens, inputs, rng);
  const Matrix<float> shared = normal_matrix(tokens, 4, rng) * normal_matrix(4, inputs, rng);
  Matrix<float> x = own + shared;
  for (Index j = 0; j < inputs; ++j) x.col(j) *= std::exp2(float(j % 5) - 2.0f);
  return x;
}

inline Matrix<double> gram_in_double(const Matrix<float>& x) {
  return x.cast<double>().transpose() * x.cast<double>();
}

}  // namespace prune::testing
