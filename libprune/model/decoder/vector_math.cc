#include "libprune/model/decoder/vector_math.h"

#include <Eigen/Core>

namespace prune {

float exp_and_sum(float* x, int64_t n, float shift) {
  Eigen::Map<Eigen::ArrayXf> values(x, n);
  values = (values - shift).exp();
  return values.sum();
}

double sum_of_exp(const float* x, int64_t n, float shift) {
  return double((Eigen::Map<const Eigen::ArrayXf>(x, n) - shift).exp().sum());
}

}  // namespace prune
