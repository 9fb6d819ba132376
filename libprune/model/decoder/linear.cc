#include "libprune/model/decoder/linear.h"

#include <algorithm>

namespace prune {

void Linear::round_weight() { gemm_operand(weight.data(), in, out, in, precision, rounded); }

void Linear::forward(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const {
  if (product) return product->run(x, ldx, y, ldy, n);
  forward(GemmOperand{x, ldx}, y, ldy, n);
}

void Linear::forward(const GemmOperand& x, float* y, int64_t ldy, int64_t n) const {
  Gemm shape{.m = n, .n = out, .k = in, .transpose_b = Transpose::kYes, .precision = precision};
  if (!bias.empty()) {
    shape.beta = 1;
#pragma omp parallel for if (n * out >= 1 << 16)
    for (int64_t i = 0; i < n; ++i) std::copy(bias.begin(), bias.end(), y + i * ldy);
  }
  gemm(shape, x, operand(), y, ldy);
}

}  // namespace prune
