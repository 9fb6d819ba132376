// lambda I, which is added to a Gram matrix so that it can be inverted.
#pragma once

#include <cmath>

#include <prune/error.h>
#include <prune/matrix.h>
#include <prune/pattern.h>

namespace prune::detail {

// lambda = share mean(diag G). Throws Error(kUsage) for a share that is no number from 0 on, or one that
// takes G + lambda I out of the range of float.
inline double damping_of(const ConstView<float>& gram, double share) {
  if (!(share >= 0 && std::isfinite(share))) {
    throw_usage("damping " + short_number(share) + ": expected a share of the mean diagonal, 0 or more");
  }
  if (gram.cols() == 0) return 0;
  const double lambda = share * gram.diagonal().cast<double>().mean();
  const double most = double(gram.diagonal().maxCoeff()) + lambda;
  if (!std::isfinite(float(most))) {
    throw_usage("damping " + short_number(share) + ": too much, the diagonal leaves the range of float");
  }
  return lambda;
}

}  // namespace prune::detail
