#include "libprune/model/train/adam.h"

#include <algorithm>
#include <cmath>

#include "kernels/sparse/row_math/row_math.h"

namespace prune {
namespace {

constexpr int64_t kChunk = 4096;  // elements: what one is done with stays in the first-level cache, or nearly

// |w| / |u| of LAMB, u being the step of Adam that the moments give.
template <class Step>
float trust_ratio(const float* w, int64_t n, Step&& step) {
  double weights = 0, steps = 0;
#pragma omp parallel for reduction(+ : weights, steps) schedule(static)
  for (int64_t j = 0; j < n; ++j) {
    const auto u = double(step(j));
    weights += double(w[j]) * double(w[j]);
    steps += u * u;
  }
  return weights > 0 && steps > 0 ? float(std::sqrt(weights / steps)) : 1;
}

}  // namespace

void Adam::begin(std::span<const Parameter> parameters) {
  if (!moments_.empty()) return;
  for (const Parameter& p : parameters)
    moments_.push_back({std::vector<float>(p.values.size()), std::vector<float>(p.values.size())});
}

void Adam::step(std::span<const Parameter> parameters, double rate, double gradient_scale) {
  begin(parameters);
  ++steps_;
  const auto beta1 = float(options_.beta1), beta2 = float(options_.beta2), epsilon = float(options_.epsilon);
  const auto scale1 = float(1 / (1 - std::pow(options_.beta1, double(steps_))));
  const auto scale2 = float(1 / (1 - std::pow(options_.beta2, double(steps_))));
  const auto decay = float(options_.weight_decay), scale = float(gradient_scale);
  const kernels::RowMath& math = kernels::row_math();
  for (size_t i = 0; i < parameters.size(); ++i) {
    float *w = parameters[i].values.data(), *m = moments_[i].first.data(), *v = moments_[i].second.data();
    const float* g = parameters[i].gradient.data();
    uint16_t* rounded = parameters[i].rounded.empty() ? nullptr : parameters[i].rounded.data();
    const auto n = static_cast<int64_t>(parameters[i].values.size());
    const auto learn = [=](int64_t j) {
      const float slope = scale * g[j];
      m[j] = beta1 * m[j] + (1 - beta1) * slope;
      v[j] = beta2 * v[j] + (1 - beta2) * slope * slope;
    };
    const auto update = [=](int64_t j) {
      return scale1 * m[j] / (std::sqrt(scale2 * v[j]) + epsilon) + decay * w[j];
    };
    if (options_.is_lamb) {
#pragma omp parallel for simd
      for (int64_t j = 0; j < n; ++j) learn(j);
      const float own_rate = float(rate) * trust_ratio(w, n, update);
#pragma omp parallel for simd
      for (int64_t j = 0; j < n; ++j) w[j] -= own_rate * update(j);
      if (rounded == nullptr) continue;
#pragma omp parallel for schedule(static)
      for (int64_t first = 0; first < n; first += kChunk)
        math.round_to_bf16(w + first, rounded + first, std::min(kChunk, n - first));
      continue;
    }
    const kernels::AdamStep step{beta1, beta2, epsilon, scale1, scale2, float(rate), decay, scale};
    // In one pass: parameters and moments of a model are more than any cache holds.
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < n; first += kChunk) {
      const int64_t count = std::min(kChunk, n - first);
      math.adam(step, g + first, m + first, v + first, w + first, count);
      if (rounded != nullptr) math.round_to_bf16(w + first, rounded + first, count);
    }
  }
}

void Adam::visit(std::span<const Parameter> parameters, StateVisitor& state) {
  begin(parameters);
  state.value("adam/" + parameters.front().name + "/steps", steps_);
  for (size_t i = 0; i < parameters.size(); ++i) {
    state.values("adam/" + parameters[i].name + "/first", std::span(moments_[i].first));
    state.values("adam/" + parameters[i].name + "/second", std::span(moments_[i].second));
  }
}

}  // namespace prune
