#include "libprune/model/decoder/linear.h"

#include <algorithm>

namespace prune {
void Linear::round_weight() { gemm_operand(weight.data(), in, out, in, precision, rounded); }

void Linear::leave_out(const Mask& mask) {
  constexpr int64_t kMostWeights = int64_t(1) << 30;
  masked = nullptr;
  const double densest = kernels::MaskedPlan::densest(), stays = 1 - mask.sparsity();
  if (reads_bf16(precision) || densest == 0 || stays > densest || out * in >= kMostWeights) return;
  const kernels::MaskBits bits{out, in, mask.row(0).data(), int64_t(mask.row(0).size())};
  using enum kernels::Direction;
  masked = std::make_unique<MaskedProducts>(
      MaskedProducts{kernels::MaskedPlan(bits, kForward), kernels::MaskedPlan(bits, kBackward)});
  refresh_masked();
}

void Linear::refresh_masked() {
  if (masked == nullptr) return;
  masked->forward.refresh(weight.data());
  masked->backward.refresh(weight.data());
}

void Linear::forward(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const {
  if (product) return product->run(x, ldx, y, ldy, n);
  forward(GemmOperand{x, ldx}, y, ldy, n);
}

void Linear::forward(const GemmOperand& x, float* y, int64_t ldy, int64_t n) const {
  if (leaves_out(n))
    return masked->forward.run({x.floats, x.ld, y, ldy, n, bias.empty() ? nullptr : bias.data()});
  Gemm shape{.m = n, .n = out, .k = in, .transpose_b = Transpose::kYes, .precision = precision};
  if (!bias.empty()) {
    shape.beta = 1;
#pragma omp parallel for if (n * out >= 1 << 16)
    for (int64_t i = 0; i < n; ++i) std::copy(bias.begin(), bias.end(), y + i * ldy);
  }
  gemm(shape, x, operand(), y, ldy);
}

}  // namespace prune
