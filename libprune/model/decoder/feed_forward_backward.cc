#include <cmath>
#include <vector>

#include "kernels/sparse/row_math/row_math.h"
#include "libprune/model/decoder/backward.h"

namespace prune {
namespace {

struct ValueAndSlope {
  float value, slope;
};

ValueAndSlope gelu_and_slope(float x) {
  const float cumulative = 0.5F * (1 + std::erf(x * 0.70710678F));
  const float density = 0.39894228F * std::exp(-0.5F * x * x);  // 1 / sqrt(2 pi)
  return {x * cumulative, cumulative + x * density};
}

ValueAndSlope gelu_tanh_and_slope(float x) {
  constexpr float kScale = 0.79788456F;  // sqrt(2 / pi)
  constexpr float kCubic = 0.044715F;
  const float t = std::tanh(kScale * (x + kCubic * x * x * x));
  return {0.5F * x * (1 + t), 0.5F * (1 + t) + 0.5F * x * (1 - t * t) * kScale * (1 + 3 * kCubic * x * x)};
}

ValueAndSlope relu_and_slope(float x) { return x > 0 ? ValueAndSlope{x, 1} : ValueAndSlope{0, 0}; }

// value[i] and slope[i] of a function of x[i].
template <class Function>
auto row_of(Function act) {
  return [act](const float* x, float* value, float* slope, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const ValueAndSlope a = act(x[i]);
      value[i] = a.value;
      slope[i] = a.slope;
    }
  };
}

template <class RowFunction>
void activate_rows(RowFunction act, bool is_gated, const FloatMatrix& expanded, const FloatMatrix& dinner,
                   FloatMatrix& dexpanded) {
  const int64_t width = dinner.cols();
#pragma omp parallel
  {
    std::vector<float> value(static_cast<size_t>(width));
#pragma omp for
    for (int64_t i = 0; i < expanded.rows(); ++i) {
      const float *gate = expanded.row(i), *up = gate + width, *from = dinner.row(i);
      float *dgate = dexpanded.row(i), *dup = dgate + width;
      act(gate, value.data(), dgate, width);
      for (int64_t c = 0; c < width; ++c) dgate[c] *= from[c];
      if (!is_gated) continue;
      for (int64_t c = 0; c < width; ++c) {
        dgate[c] *= up[c];
        dup[c] = from[c] * value[size_t(c)];
      }
    }
  }
}

void gated_silu_rows(const FloatMatrix& expanded, const FloatMatrix& dinner, FloatMatrix& dexpanded) {
  const int64_t width = dinner.cols();
  const kernels::RowMath& math = kernels::row_math();
#pragma omp parallel for
  for (int64_t i = 0; i < expanded.rows(); ++i) {
    const float* gate = expanded.row(i);
    float* dgate = dexpanded.row(i);
    math.gated_silu_slope(gate, gate + width, dinner.row(i), dgate, dgate + width, width);
  }
}

}  // namespace

void activate_backward(Activation activation, bool is_gated, const FloatMatrix& expanded,
                       const FloatMatrix& dinner, FloatMatrix& dexpanded) {
  dexpanded.resize(expanded.rows(), expanded.cols());
  switch (activation) {
    case Activation::kSilu:
      if (is_gated) return gated_silu_rows(expanded, dinner, dexpanded);
      return activate_rows(kernels::row_math().silu_slope, is_gated, expanded, dinner, dexpanded);
    case Activation::kGelu:
      return activate_rows(row_of(gelu_and_slope), is_gated, expanded, dinner, dexpanded);
    case Activation::kGeluTanh:
      return activate_rows(row_of(gelu_tanh_and_slope), is_gated, expanded, dinner, dexpanded);
    case Activation::kRelu:
      return activate_rows(row_of(relu_and_slope), is_gated, expanded, dinner, dexpanded);
  }
}

}  // namespace prune
