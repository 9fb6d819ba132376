// Epilogues in double precision.
#pragma once

#include "kernels/sparse/cuda/epilogue.h"
#include "test/kernels/cuda/reference24.h"

namespace prune::test {

using kernels::cuda::Activation;

inline double activate(Activation activation, double v) {
  switch (activation) {
    case Activation::kNone:
      return v;
    case Activation::kRelu:
      return v < 0 ? 0 : v;
    case Activation::kSilu:
      return v / (1 + std::exp(-v));
    case Activation::kGelu:
      return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
  }
  return v;
}

// Which parts an epilogue has. Number i of all of them, types of y included.
struct EpilogueParts {
  Activation activation;
  bool token_scales;
  bool bias;
  bool residual;
  bool single;

  explicit EpilogueParts(int i)
      : activation(Activation(i % 5)),
        token_scales((i / 5 & 1) != 0),
        bias((i / 10 & 1) == 0),
        residual((i / 20 & 1) == 0),
        single(i % 3 == 0) {}
  std::string name() const {
    return "activation " + std::to_string(int(activation)) + (token_scales ? " token scales" : "") +
           (bias ? " bias" : "") + (residual ? " residual" : "") + (single ? " single" : "");
  }
};

// What epilogues read, on the host and the device; residuals are of type Y.
template <class Y>
struct EpilogueOperands {
  std::vector<float> token_scales, bias;
  std::vector<Bits<Y>> residual;
  int residual_stride;
  DeviceArray<float> token_scales_device, bias_device;
  DeviceArray<Bits<Y>> residual_device;

  EpilogueOperands(int rows, int tokens, Random& random)
      : token_scales(floats(tokens, random)),
        bias(floats(rows, random)),
        residual(random_x<Y>(tokens, rows, rows + 8, false, random)),
        residual_stride(rows + 8),
        token_scales_device(token_scales),
        bias_device(bias),
        residual_device(residual) {}

  kernels::cuda::Epilogue epilogue(const EpilogueParts& parts) const {
    return {parts.token_scales ? token_scales_device.get() : nullptr,
            parts.bias ? bias_device.get() : nullptr,
            parts.activation,
            parts.residual ? residual_device.get() : nullptr,
            residual_stride,
            sizeof(Y) == 4};
  }
  // Every activation here changes by at most 1.13 times as much as its argument.
  Expected expected(const EpilogueParts& parts, const Expected& sums, int rows, int tokens) const {
    Expected e = sums;
#pragma omp parallel for
    for (int n = 0; n < tokens; ++n) {
      for (int r = 0; r < rows; ++r) {
        double &v = e.sum[size_t(n) * rows + r], &magnitude = e.magnitude[size_t(n) * rows + r];
        if (parts.token_scales) v *= token_scales[n], magnitude *= std::fabs(token_scales[n]);
        if (parts.bias) v += bias[r], magnitude += std::fabs(bias[r]);
        v = activate(parts.activation, v);
        magnitude *= 1.13;
        if (!parts.residual) continue;
        const double more = to_double<Y>(residual[size_t(n) * residual_stride + r]);
        v += more, magnitude += std::fabs(more);
      }
    }
    return e;
  }

 private:
  static std::vector<float> floats(int size, Random& random) {
    std::vector<float> values(size);
    for (float& v : values) v = float(random.uniform());
    return values;
  }
};

}  // namespace prune::test
