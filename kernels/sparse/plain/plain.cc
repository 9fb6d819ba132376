#include "kernels/sparse/plain/plain.h"

#include <algorithm>
#include <memory>

#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/plain/kernel.h"

namespace prune::kernels {
namespace {

int64_t groups_of(int64_t rows, const PlainKernel& kernel) {
  return (rows + kernel.group_rows - 1) / kernel.group_rows;
}

class Plain final : public FewRows {
 public:
  Plain(const Weights& weights, const PlainKernel& kernel)
      : FewRows(weights.rows, kernel.group_rows, {}, equal_costs(groups_of(weights.rows, kernel))),
        kernel_(kernel),
        weights_(weights) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return static_cast<size_t>(weights_.rows * row_bytes()); }
  size_t own_bytes() const override { return frame_bytes(); }
  bool is_in_place() const override { return true; }

 private:
  int64_t row_bytes() const { return weights_.cols * weight_bytes(weights_.type); }
  int64_t padded() const { return (weights_.cols + kPlainInputs - 1) / kPlainInputs * kPlainInputs; }

  size_t packed_x_bytes() const override { return static_cast<size_t>(padded() * kernel_.x_bytes); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    kernel_.pack_x(x, weights_.cols, padded(), packed + i * static_cast<int64_t>(packed_x_bytes()));
  }

  // Where the last group lacks rows, its last one takes their place.
  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    const void* rows[kPlainMaxGroupRows];
    for (int64_t r = 0; r < kernel_.group_rows; ++r) {
      const int64_t row = std::min(group * kernel_.group_rows + r, weights_.rows - 1);
      rows[r] = static_cast<const char*>(weights_.values) + row * row_bytes();
    }
    kernel_.multiply(rows, weights_.cols, x, padded(), n, sums);
  }

  const PlainKernel& kernel_;
  Weights weights_;
};

const PlainKernel* choose(WeightType type, const PrepareOptions& options) {
  static const struct {
    const PlainKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_PLAIN_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/plain/kernels.inc"
#undef PRUNE_PLAIN_KERNEL
  };
  for (const auto& [kernel, needs] : kKernels) {
    const bool fits = !kernel->in_halves || isa::works_in_halves();
    const bool wanted = options.kernel.empty() ? fits : options.kernel == kernel->name;
    if (wanted && kernel->type == type && isa::runs_on(needs, options.isa)) return kernel;
  }
  return nullptr;
}

}  // namespace

Plan prepare_plain(const Weights& weights, const PrepareOptions& options) {
  const PlainKernel* kernel = choose(weights.type, options);
  std::unique_ptr<const Layout> few;
  if (kernel != nullptr) few = std::make_unique<Plain>(weights, *kernel);
  return Plan(weights.rows, weights.cols, std::move(few), nullptr, 0);
}

}  // namespace prune::kernels
