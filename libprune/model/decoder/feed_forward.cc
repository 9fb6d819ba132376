#include "libprune/model/decoder/feed_forward.h"

#include <algorithm>
#include <cmath>

#include "kernels/sparse/row_math/row_math.h"

namespace prune {
namespace {

float gelu(float x) { return 0.5F * x * (1 + std::erf(x * 0.70710678F)); }

}  // namespace

void apply_activation(Activation activation, float* x, int64_t n) {
  switch (activation) {
    case Activation::kSilu:
      kernels::row_math().silu(x, n);
      return;
    case Activation::kGelu:
      std::transform(x, x + n, x, gelu);
      return;
    case Activation::kGeluTanh:
      kernels::row_math().gelu_tanh(x, n);
      return;
    case Activation::kRelu:
      for (int64_t i = 0; i < n; ++i) x[i] = x[i] < 0 ? 0 : x[i];  // NaN stays NaN
      return;
  }
}

void activate(Activation activation, bool is_gated, const FloatMatrix& expanded, int64_t inner_width,
              FloatMatrix& inner) {
  inner.resize(expanded.rows(), inner_width);
#pragma omp parallel for if (expanded.rows() > 1)
  for (int64_t i = 0; i < expanded.rows(); ++i) {
    const float* from = expanded.row(i);
    float* to = inner.row(i);
    if (is_gated && activation == Activation::kSilu) {
      kernels::row_math().gated_silu(from, from + inner_width, to, inner_width);
      continue;
    }
    std::copy(from, from + inner_width, to);
    apply_activation(activation, to, inner_width);
    if (!is_gated) continue;
    for (int64_t c = 0; c < inner_width; ++c) to[c] *= from[inner_width + c];
  }
}

}  // namespace prune
