// What a product may do to its sums before they become y, in one pass:
//
//   y[n][r] = act(s[r] * t[n] * sum[n][r] + bias[r]) + residual[n][r]        n: tokens, r: rows of the
//   weights
//
// in single precision, rounded once. s is the weights' own (Matrix24), everything here is optional.
#pragma once

#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

enum class Activation {
  kNone,
  kRelu,
  kSilu,      // v / (1 + exp(-v))
  kGelu,      // v / 2 * (1 + erf(v / sqrt(2)))
  kGeluTanh,  // its approximation 0.5 v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))), Hendrycks and Gimpel
              // 2016
};

struct Epilogue {
  const float* token_scales = nullptr;  // [tokens]
  const float* bias = nullptr;          // [rows], 16-byte aligned
  Activation activation = Activation::kNone;
  const void* residual = nullptr;  // [tokens, rows], of y's type, 16-byte aligned
  int64_t residual_stride = 0;     // elements from token to token, a multiple of 8
  bool single = false;             // y in single precision, whatever the call's element

  // Whether sums are only scaled by row and rounded to 16 bits.
  bool plain() const {
    return !token_scales && !bias && activation == Activation::kNone && !residual && !single;
  }
};

// What is wrong with it for a product of so many rows, if anything.
inline Status check_epilogue(const Epilogue& e, int rows) {
  if (e.residual && e.residual_stride < rows) return {Reason::kShape};
  if (!aligned16(e.bias) || !aligned16(e.residual) || e.residual_stride % 8 != 0) return {Reason::kAlignment};
  return {};
}

}  // namespace prune::kernels::cuda
