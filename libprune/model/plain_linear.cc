#include "libprune/model/plain_linear.h"

#include <algorithm>
#include <string>

#include "kernels/sparse/plain/plain.h"
#include "libprune/model/bf16.h"
#include "libprune/model/crossover.h"
#include "libprune/model/gemm.h"
#include "libprune/model/tuning.h"

namespace prune {
namespace {

kernels::Plan make_plan(DenseType type, const void* weights, int64_t out, int64_t in, Rounding rounding) {
  const auto kind = type == DenseType::kBf16 ? kernels::WeightType::kBf16 : kernels::WeightType::kF32;
  kernels::PrepareOptions options;
  if (rounding == Rounding::kNone) options.isa &= ~uint32_t(kernels::isa::kAvx512Bf16);
  return kernels::prepare_plain({out, in, kind, weights, nullptr}, options);
}

}  // namespace

PlainLinear::PlainLinear(DenseType type, const void* weights, int64_t out, int64_t in, const float* bias,
                         const PlainLinearOptions& options)
    : type_(type),
      weights_(weights),
      in_bf16_(type == DenseType::kBf16 && options.rounding == Rounding::kBf16 && has_bf16_products()),
      plan_(make_plan(type, weights, out, in, options.rounding)) {
  if (options.dense_from) {
    dense_from_ = *options.dense_from;
  } else {
    const std::string kind = std::string("dense_from plain ") + (type == DenseType::kBf16 ? "bf16" : "f32") +
                             (in_bf16_ ? " as bf16" : " as f32") + " shape " + shape_kind(out, in);
    const auto few = [&](const float* x, float* y, int64_t n) { plan_.run({x, in, y, out, n}); };
    const auto many = [&](const float* x, float* y, int64_t n) { forward_many(x, in, y, out, n); };
    TuningTable& table = options.tuning != nullptr ? *options.tuning : TuningTable::of_user();
    dense_from_ = table.get(kind, [&] { return measure_crossover(out, in, few, many); });
  }
  dense_from_ = std::max<int64_t>(1, dense_from_);
  if (bias != nullptr) bias_.assign(bias, bias + out);
}

void PlainLinear::forward(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const {
  if (n <= 0) return;
  if (n >= dense_from_) return forward_many(x, ldx, y, ldy, n);
  plan_.run({x, ldx, y, ldy, n, bias_.empty() ? nullptr : bias_.data()});
}

void PlainLinear::forward_many(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const {
  const Gemm shape{.m = n, .n = out(), .k = in(), .transpose_b = Transpose::kYes};
  const auto* halves = static_cast<const uint16_t*>(weights_);
  if (in_bf16_) {
    gemm_bf16(shape, round_rows_to_bf16(x, ldx, n, in()), in(), halves, in(), y, ldy);
  } else if (type_ == DenseType::kBf16) {
    multiply_widened(x, ldx, halves, out(), in(), y, ldy, n);
  } else {
    gemm(shape, x, ldx, static_cast<const float*>(weights_), in(), y, ldy);
  }
  if (bias_.empty()) return;
#pragma omp parallel for if (n * out() >= int64_t{1} << 16)
  for (int64_t i = 0; i < n; ++i)
    std::transform(bias_.begin(), bias_.end(), y + i * ldy, y + i * ldy, std::plus<>());
}

const char* PlainLinear::kernel_name(int64_t n) const {
  return n >= dense_from_ ? "dense" : plan_.kernel_name(n);
}

}  // namespace prune
