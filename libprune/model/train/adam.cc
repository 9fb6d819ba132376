#include "libprune/model/train/adam.h"

#include <cmath>

namespace prune {

void Adam::step(std::span<const Parameter> parameters, double rate) {
  if (moments_.empty()) {
    for (const Parameter& p : parameters)
      moments_.push_back({std::vector<float>(p.values.size()), std::vector<float>(p.values.size())});
  }
  ++steps_;
  const auto beta1 = float(options_.beta1), beta2 = float(options_.beta2), epsilon = float(options_.epsilon);
  const auto scale1 = float(1 / (1 - std::pow(options_.beta1, double(steps_))));
  const auto scale2 = float(1 / (1 - std::pow(options_.beta2, double(steps_))));
  const auto rate1 = float(rate), decay = float(1 - rate * options_.weight_decay);
  for (size_t i = 0; i < parameters.size(); ++i) {
    float *w = parameters[i].values.data(), *m = moments_[i].first.data(), *v = moments_[i].second.data();
    const float* g = parameters[i].gradient.data();
    const auto n = static_cast<int64_t>(parameters[i].values.size());
#pragma omp parallel for simd
    for (int64_t j = 0; j < n; ++j) {
      m[j] = beta1 * m[j] + (1 - beta1) * g[j];
      v[j] = beta2 * v[j] + (1 - beta2) * g[j] * g[j];
      w[j] = decay * w[j] - rate1 * (scale1 * m[j]) / (std::sqrt(scale2 * v[j]) + epsilon);
    }
  }
}

}  // namespace prune
