// Functions of a row of floats, as softmax and activations of a transformer need them.
#pragma once

#include <cstdint>

namespace prune::kernels {

// exp has a relative error below 3e-7 for arguments from -87 to 88, is 0 below and exp(88) above. NaN stays
// NaN but in `largest`, which takes no notice of it.
struct RowMath {
  const char* name;
  float (*largest)(const float* x, int64_t n);  // -infinity for n = 0
  // x[i] = exp(x[i] - shift); returns their sum.
  float (*exp_and_sum)(float* x, int64_t n, float shift);
  // sum_i exp(x[i] - shift); x is left as it is.
  double (*sum_of_exp)(const float* x, int64_t n, float shift);
  // x[i] = x[i] / (1 + exp(-x[i]))
  void (*silu)(float* x, int64_t n);
  // x[i] = x[i] / 2 (1 + tanh(sqrt(2 / pi) (x[i] + 0.044715 x[i]^3)))
  void (*gelu_tanh)(float* x, int64_t n);
  // For s = silu(x): slope[i] = ds/dx, and value[i] = s.
  void (*silu_slope)(const float* x, float* value, float* slope, int64_t n);
  // y[i] = the bf16 next to x[i], ties to even; NaN stays NaN.
  void (*round_to_bf16)(const float* x, uint16_t* y, int64_t n);
};

// The best that this machine, and PRUNE_ISA, allows.
const RowMath& row_math();

}  // namespace prune::kernels
