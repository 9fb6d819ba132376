// The triangular factor of a damped Gram matrix that optimal brain surgery in a fixed order needs.
#pragma once

#include <string>

#include <prune/layer_error.h>
#include <prune/padded_matrix.h>
#include <prune/pattern.h>
#include <prune/triangular.h>
#include <prune/update/damping.h>

namespace prune {

// H = R diag(pivots) R^T with R unit upper triangular; H = G + damping mean(diag G) I.
//
// SparseGPT is told with the upper factor U of H^-1 = U^T U. Since H = (R P^1/2) (R P^1/2)^T, that U is the
// inverse of R P^1/2, and 1 / pivots_j = U_jj^2 = [inv(H[j:, j:])]_00: what weight j costs when only later
// weights can make up for it is w_j^2 pivots_j. Neither inverse is ever formed.
struct DampedFactor {
  PaddedMatrix unit_upper;  // R; below the diagonal is whatever was there
  Eigen::VectorXf pivots;
  double damping = 0;  // the one that it worked with
  int retries = 0;     // with ten times the damping each
};

// Of G [in, in], symmetric, of which only the upper triangle is read and checked. An input that was never
// other than 0 (G_jj = 0) gets the diagonal 1 instead. Where H is not positive definite in float, once more
// with ten times the damping, and so on up to a limit. `damping` > 0. Throws Error(kInput) for NaN, infinity
// or a negative diagonal, and when the last attempt fails; Error(kUsage) for a damping that is none or a
// shape that is not square.
inline DampedFactor factor_damped(const ConstView<float>& gram, double damping) {
  constexpr int kMaxRetries = 4;
  if (!(damping > 0)) {  // ten times as much of nothing would not help
    throw_usage("damping " + detail::short_number(damping) + ": expected a positive number");
  }
  const Index n = gram.cols();
  detail::require_upper_gram(gram, n);
  DampedFactor factor{PaddedMatrix(n, n), Eigen::VectorXf(n), damping, 0};
  View<float> h = factor.unit_upper.view();
  for (;; ++factor.retries, factor.damping *= 10) {
    const double lambda = detail::damping_of(gram, factor.damping);
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 64)
#endif
    for (Index i = 0; i < n; ++i) {
      h.row(i).tail(n - i) = gram.row(i).tail(n - i);
      h(i, i) = gram(i, i) == 0 ? 1.0f : float(gram(i, i) + lambda);
    }
    if (detail::factor_upper(h) && h.diagonal().allFinite()) break;
    if (factor.retries == kMaxRetries) {
      throw_input("Gram matrix: not positive definite even with damping " +
                  detail::short_number(factor.damping) + "; it should be the sum of x x^T over inputs x");
    }
  }
  factor.pivots = h.diagonal().cwiseAbs2();
  const Eigen::RowVectorXf scale = h.diagonal().cwiseInverse().transpose();
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 64)
#endif
  for (Index i = 0; i < n; ++i) h.row(i).tail(n - i).array() *= scale.tail(n - i).array();
  return factor;
}

}  // namespace prune
