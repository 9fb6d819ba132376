// H = G + lambda I, and H scaled to a unit diagonal, which is what floats can factor.
#pragma once

#include <Eigen/Cholesky>
#include <string>

#include <prune/layer_error.h>
#include <prune/update/damping.h>

namespace prune::update::detail {

// The diagonal of H.
struct Damping {
  float lambda = 0;
  Eigen::RowVectorXf inverse_diagonal;  // 1 / H_jj; 0 for a dead input, one that is always 0: G_jj = 0

  Damping(const ConstView<float>& gram, double share)
      : lambda(float(prune::detail::damping_of(gram, share))), inverse_diagonal(gram.cols()) {
    for (Index j = 0; j < gram.cols(); ++j) {
      inverse_diagonal[j] = gram(j, j) > 0 ? 1 / (gram(j, j) + lambda) : 0;
    }
  }
};

// S H S with S = diag(H)^-1/2, column-major. A dead input has the row and column of the identity, and S_jj =
// 0, so that nothing reaches it.
struct ScaledGram {
  Damping damping;
  Eigen::RowVectorXf scale;  // S_jj
  Eigen::MatrixXf matrix;

  ScaledGram(const ConstView<float>& gram, double share)
      : damping(gram, share), scale(damping.inverse_diagonal.cwiseSqrt()), matrix(gram.rows(), gram.cols()) {
    for (Index j = 0; j < gram.cols(); ++j) {
      matrix.col(j) = scale[j] * gram.row(j).cwiseProduct(scale).transpose();
      matrix(j, j) = 1;
    }
  }
};

[[noreturn]] inline void throw_not_positive(const char* what) {
  throw_input(std::string("gram: ") + what +
              " is not positive definite; more damping helps, if it is a Gram matrix at all");
}

}  // namespace prune::update::detail
