#include "kernels/sparse/gemv/gemv.h"

#include <algorithm>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/gemv/kernel.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/row_source.h"

namespace prune::kernels {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

class Gemv final : public FewRows {
 public:
  Gemv(const DenseWeights& w, const GemvKernel& kernel)
      : FewRows(w.rows, kGemvGroupRows, copy_row_scales(w), equal_costs(divide_up(w.rows, kGemvGroupRows))),
        kernel_(kernel),
        cols_(w.cols),
        chunks_(divide_up(w.cols, kGemvChunk)),
        values_(groups() * group_values()) {
    for (int64_t r = 0; r < w.rows; ++r) fill_row(w, r);
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return values_.size() + frame_bytes(); }

 private:
  int64_t group_values() const { return kGemvGroupRows * chunks_ * kGemvChunk; }

  void fill_row(const DenseWeights& w, int64_t r) {
    const int64_t first = r / kGemvGroupRows * group_values() + r % kGemvGroupRows * kGemvChunk;
    for (int64_t k = 0; k < w.cols; ++k) {
      const int64_t to = first + k / kGemvChunk * kGemvGroupRows * kGemvChunk + k % kGemvChunk;
      const float value = load_weight(w.values, w.type, r * w.cols + k);
      if (kernel_.sign_magnitude) {
        values_.as<uint8_t>()[to] = sign_magnitude(value);
      } else {
        values_.as<int8_t>()[to] = static_cast<int8_t>(value);
      }
    }
  }

  size_t packed_x_bytes() const override { return chunks_ * kGemvChunk * kernel_.x_bytes; }
  void pack_x(const float* x, int64_t i, int64_t n, char* packed) const override {
    for (int64_t c = 0; c < chunks_; ++c) {
      const int64_t first = c * kGemvChunk;
      kernel_.pack_chunk(x + first, cols_ - first, packed + (c * n + i) * kGemvChunk * kernel_.x_bytes);
    }
  }

  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    kernel_.multiply(values_.as<char>() + group * group_values(), chunks_, x, n, sums);
  }

  const GemvKernel& kernel_;
  int64_t cols_;
  int64_t chunks_;
  Buffer values_;
};

bool has_minus_128(const DenseWeights& w) {
  const auto* begin = static_cast<const int8_t*>(w.values);
  return std::find(begin, begin + w.rows * w.cols, -128) != begin + w.rows * w.cols;
}

}  // namespace

std::unique_ptr<const Layout> make_gemv(const DenseWeights& weights, const PrepareOptions& options) {
  static const struct {
    const GemvKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_GEMV_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/gemv/kernels.inc"
#undef PRUNE_GEMV_KERNEL
  };
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa) || weights.type != WeightType::kI8) continue;
    if (!options.kernel.empty() && options.kernel != entry.kernel->name) continue;
    if (entry.kernel->sign_magnitude && has_minus_128(weights)) continue;
    return std::make_unique<Gemv>(weights, *entry.kernel);
  }
  return nullptr;
}

}  // namespace prune::kernels
