#include <cmath>

#include "libprune/model/decoder/backward.h"

namespace prune {
namespace {

struct ValueAndSlope {
  float value, slope;
};

ValueAndSlope silu(float x) {
  const float s = 1 / (1 + std::exp(-x));
  return {x * s, s * (1 + x * (1 - s))};
}

ValueAndSlope gelu(float x) {
  const float cumulative = 0.5F * (1 + std::erf(x * 0.70710678F));
  const float density = 0.39894228F * std::exp(-0.5F * x * x);  // 1 / sqrt(2 pi)
  return {x * cumulative, cumulative + x * density};
}

ValueAndSlope gelu_tanh(float x) {
  constexpr float kScale = 0.79788456F;  // sqrt(2 / pi)
  constexpr float kCubic = 0.044715F;
  const float t = std::tanh(kScale * (x + kCubic * x * x * x));
  return {0.5F * x * (1 + t), 0.5F * (1 + t) + 0.5F * x * (1 - t * t) * kScale * (1 + 3 * kCubic * x * x)};
}

ValueAndSlope relu(float x) { return x > 0 ? ValueAndSlope{x, 1} : ValueAndSlope{0, 0}; }

template <class Function>
void activate_rows(Function act, bool is_gated, const FloatMatrix& expanded, const FloatMatrix& dinner,
                   FloatMatrix& dexpanded) {
  const int64_t width = dinner.cols();
#pragma omp parallel for
  for (int64_t i = 0; i < expanded.rows(); ++i) {
    const float *gate = expanded.row(i), *up = gate + width, *slope = dinner.row(i);
    float *dgate = dexpanded.row(i), *dup = dgate + width;
    for (int64_t c = 0; c < width; ++c) {
      const ValueAndSlope a = act(gate[c]);
      dgate[c] = slope[c] * a.slope * (is_gated ? up[c] : 1);
      if (is_gated) dup[c] = slope[c] * a.value;
    }
  }
}

}  // namespace

void activate_backward(Activation activation, bool is_gated, const FloatMatrix& expanded,
                       const FloatMatrix& dinner, FloatMatrix& dexpanded) {
  dexpanded.resize(expanded.rows(), expanded.cols());
  switch (activation) {
    case Activation::kSilu:
      return activate_rows(silu, is_gated, expanded, dinner, dexpanded);
    case Activation::kGelu:
      return activate_rows(gelu, is_gated, expanded, dinner, dexpanded);
    case Activation::kGeluTanh:
      return activate_rows(gelu_tanh, is_gated, expanded, dinner, dexpanded);
    case Activation::kRelu:
      return activate_rows(relu, is_gated, expanded, dinner, dexpanded);
  }
}

}  // namespace prune
