// Functions of a row of floats, as softmax and activations of a transformer need them.
#pragma once

#include <cstdint>

namespace prune::kernels {

// What all elements share in one step of Adam.
struct AdamStep {
  float beta1, beta2, epsilon;
  float scale1, scale2;  // 1 / (1 - beta1^t) and 1 / (1 - beta2^t) at step t
  float rate, decay;
  float gradient_scale;
};

// exp has a relative error below 3e-7 for arguments from -87 to 88, is 0 below and exp(88) above. NaN stays
// NaN but in `largest`, which takes no notice of it.
struct RowMath {
  const char* name;
  float (*largest)(const float* x, int64_t n);  // -infinity for n = 0
  // x[i] = exp(x[i] - shift); returns their sum.
  float (*exp_and_sum)(float* x, int64_t n, float shift);
  // sum_i exp(x[i] - shift); x is left as it is.
  double (*sum_of_exp)(const float* x, int64_t n, float shift);
  // x[i] = factor x[i]
  void (*scale)(float* x, int64_t n, float factor);
  // From the slope with respect to p = softmax(s) to that with respect to s, times scale, in place:
  // slope[i] = scale p[i] (slope[i] - sum_j p[j] slope[j])
  void (*softmax_slope)(const float* p, float* slope, int64_t n, float scale);
  // x[i] = x[i] / (1 + exp(-x[i]))
  void (*silu)(float* x, int64_t n);
  // y[i] = up[i] silu(gate[i])
  void (*gated_silu)(const float* gate, const float* up, float* y, int64_t n);
  // From dy to dgate and dup, its slopes with respect to both.
  void (*gated_silu_slope)(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                           int64_t n);
  // x[i] = x[i] / 2 (1 + tanh(sqrt(2 / pi) (x[i] + 0.044715 x[i]^3)))
  void (*gelu_tanh)(float* x, int64_t n);
  // For s = silu(x): slope[i] = ds/dx, and value[i] = s.
  void (*silu_slope)(const float* x, float* value, float* slope, int64_t n);
  // y[i] = the bf16 next to x[i], ties to even; NaN stays NaN.
  void (*round_to_bf16)(const float* x, uint16_t* y, int64_t n);
  // With g' = gradient_scale g: m = beta1 m + (1 - beta1) g', v = beta2 v + (1 - beta2) g'^2,
  // w -= rate (scale1 m / (sqrt(scale2 v) + epsilon) + decay w).
  void (*adam)(const AdamStep& step, const float* g, float* m, float* v, float* w, int64_t n);
};

// The best that this machine, and PRUNE_ISA, allows.
const RowMath& row_math();

}  // namespace prune::kernels
