// Steps of gradient descent for scores, or for any matrix of floats.
#pragma once

#include <cmath>
#include <string>

#include <prune/error.h>
#include <prune/finite.h>
#include <prune/matrix.h>

namespace prune::optimizer {

namespace detail {

using namespace prune::detail;

// Throws before anything is changed.
inline void require_gradient(const ConstView<float>& gradient, const ConstView<float>& values) {
  if (gradient.rows() != values.rows() || gradient.cols() != values.cols()) {
    throw_usage("a gradient of " + std::to_string(gradient.rows()) + " x " + std::to_string(gradient.cols()) +
                " for values of " + std::to_string(values.rows()) + " x " + std::to_string(values.cols()));
  }
  require_finite(gradient, "gradient");
}

}  // namespace detail

// values -= rate * gradient. Throws Error(kUsage) for another shape, Error(kInput) for a gradient with NaN or
// infinity; then nothing was changed.
template <detail::FloatRows Gradient, detail::FloatMatrix Values>
void sgd(double rate, const Gradient& gradient, Values&& values) {
  View<float> v = detail::mutable_view(values);
  detail::require_gradient(view(gradient), detail::as_const(v));
  v -= float(rate) * view(gradient);
}

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
};

// Adam for one matrix. At the t-th step, from 1,
//
//   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
//   values -= rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
//
// in float, element by element. No weight decay. Kingma, Ba, "Adam: A Method for Stochastic Optimization",
// arXiv 1412.6980.
class Adam {
 public:
  explicit Adam(AdamOptions options = {}) : options_(options) {
    const auto is_share = [](double beta) { return beta >= 0 && beta < 1; };
    if (is_share(options.beta1) && is_share(options.beta2) && options.epsilon > 0) return;
    throw_usage("Adam: expected 0 <= beta1, beta2 < 1 and epsilon > 0");
  }

  // The first step gives the moments their shape. Errors as sgd().
  template <detail::FloatRows Gradient, detail::FloatMatrix Values>
  void step(double rate, const Gradient& gradient, Values&& values) {
    step(rate, view(gradient), detail::mutable_view(values));
  }

  int64_t steps() const { return steps_; }

 private:
  void step(double rate, const ConstView<float>& gradient, View<float> values) {
    detail::require_gradient(gradient, detail::as_const(values));
    if (steps_ == 0) {
      mean_ = Matrix<float>::Zero(values.rows(), values.cols());
      mean_square_ = mean_;
    } else if (mean_.rows() != values.rows() || mean_.cols() != values.cols()) {
      throw_usage("Adam: an optimizer belongs to one matrix, and this one has another shape");
    }
    ++steps_;
    const double correction2 = std::sqrt(1 - std::pow(options_.beta2, double(steps_)));
    const double correction1 = 1 - std::pow(options_.beta1, double(steps_));
    // Both corrections out of the loop: rate m / c1 / (sqrt(v) / c2 + eps) = (rate c2 / c1) m / (sqrt(v) +
    // eps c2).
    const auto factor = float(rate * correction2 / correction1);
    const auto epsilon = float(options_.epsilon * correction2);
    const auto beta1 = float(options_.beta1);
    const auto beta2 = float(options_.beta2);
    const auto new1 = float(1 - options_.beta1);  // in float 1 - 0.999f is off by a hundred-thousandth
    const auto new2 = float(1 - options_.beta2);
    for (Index i = 0; i < values.rows(); ++i) {
      const float* g = gradient.data() + i * gradient.outerStride();
      float* value = values.data() + i * values.outerStride();
      float* m = mean_.data() + i * mean_.cols();
      float* v = mean_square_.data() + i * mean_.cols();
      for (Index j = 0; j < values.cols(); ++j) {
        m[j] = beta1 * m[j] + new1 * g[j];
        v[j] = beta2 * v[j] + new2 * (g[j] * g[j]);
        value[j] -= factor * m[j] / (std::sqrt(v[j]) + epsilon);
      }
    }
  }

  AdamOptions options_;
  int64_t steps_ = 0;
  Matrix<float> mean_;
  Matrix<float> mean_square_;
};

}  // namespace prune::optimizer
