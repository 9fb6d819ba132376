#include "kernels/sparse/in_place/in_place.h"

#include <algorithm>
#include <vector>

#include "kernels/sparse/at_first_use.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/in_place/kernel.h"

namespace prune::kernels {
namespace {

constexpr int64_t kGroupRows = 16;
// Behind each packed row of X: rows a power of two apart would meet in the same sets of the cache.
constexpr int64_t kApart = 32;

// The kernel's product, with or without groups of columns.
template <class Kernel>
auto product_of(const Kernel& kernel, const Weights& w) {
  return w.scale_group == 0 ? kernel.multiply : kernel.multiply_scaled;
}

PackedRow row_of(const NmWeights& w, int64_t r) {
  const int64_t per_row = w.cols / 2;
  return {static_cast<const char*>(w.values) + r * per_row * weight_bytes(w.type), (w.rows - r) * per_row,
          w.indices + r * nm_row_bytes(w.cols, w.keep, w.group), group_scales(w, r)};
}
PackedRow row_of(const BitmaskWeights& w, int64_t r) {
  const int64_t first = w.row_offsets[r];
  return {static_cast<const char*>(w.values) + first * weight_bytes(w.type), w.row_offsets[w.rows] - first,
          w.bitmask + r * ((w.cols + 7) / 8), group_scales(w, r)};
}

template <class W>
class InPlace final : public FewRows {
 public:
  InPlace(const W& weights, const InPlaceKernel& kernel)
      : FewRows(weights.rows, kGroupRows, copy_row_scales(weights),
                equal_costs((weights.rows + kGroupRows - 1) / kGroupRows)),
        kernel_(kernel),
        product_(product_of(kernel, weights)),
        weights_(weights) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return stored_bytes(weights_) + group_scale_bytes(weights_); }
  size_t own_bytes() const override { return frame_bytes(); }
  bool is_in_place() const override { return true; }

 private:
  int64_t padded() const { return (weights_.cols + kernel_.chunk - 1) / kernel_.chunk * kernel_.chunk; }
  int64_t x_stride() const { return padded() + kApart; }

  size_t packed_x_bytes() const override { return static_cast<size_t>(x_stride() * kernel_.input_bytes); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    kernel_.pack_x(x, weights_.cols, padded(), packed + i * x_stride() * kernel_.input_bytes);
  }

  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    const int64_t first = group * kGroupRows, present = std::min(kGroupRows, weights_.rows - first);
    for (int64_t r = 0; r < present; ++r)
      product_(row_of(weights_, first + r), weights_.cols, x, x_stride(), n, sums + r, kGroupRows);
  }

  const InPlaceKernel& kernel_;
  decltype(InPlaceKernel::multiply) product_;
  W weights_;
};

class InPlaceBlocks final : public FewRows {
 public:
  InPlaceBlocks(const BsrWeights& weights, const InPlaceBlocksKernel& kernel)
      : FewRows(weights.rows, weights.block_rows, copy_row_scales(weights), costs(weights)),
        kernel_(kernel),
        product_(product_of(kernel, weights)),
        weights_(weights) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return stored_bytes(weights_) + group_scale_bytes(weights_); }
  size_t own_bytes() const override { return frame_bytes(); }
  bool is_in_place() const override { return true; }

  static bool takes(const BsrWeights& w, const InPlaceBlocksKernel& kernel) {
    return w.block_rows <= kMaxGroupRows && kernel.takes(w.block_rows, w.block_cols);
  }

 private:
  static std::vector<int64_t> costs(const BsrWeights& w) {
    const int64_t block_rows = w.rows / w.block_rows;
    std::vector<int64_t> costs(static_cast<size_t>(block_rows) + 1);
    for (int64_t i = 0; i <= block_rows; ++i) costs[i] = w.indptr[i] + i;
    return costs;
  }

  int64_t padded() const { return (weights_.cols + 31) / 32 * 32; }
  int64_t x_stride() const { return padded() + kApart; }

  size_t packed_x_bytes() const override { return static_cast<size_t>(x_stride() * kernel_.input_bytes); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    kernel_.pack_x(x, weights_.cols, padded(), packed + i * x_stride() * kernel_.input_bytes);
  }
  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    const int64_t first = weights_.indptr[group], block = int64_t{weights_.block_rows} * weights_.block_cols;
    product_(
        {.values = static_cast<const char*>(weights_.values) + first * block * weight_bytes(weights_.type),
         .columns = weights_.indices + first,
         .blocks = weights_.indptr[group + 1] - first,
         .block_rows = weights_.block_rows,
         .block_cols = weights_.block_cols,
         .scales = group_scales(weights_, group * weights_.block_rows),
         .scales_stride = weights_.scale_group == 0 ? 0 : scales_per_row(weights_)},
        x, x_stride(), n, sums, weights_.block_rows);
  }

  const InPlaceBlocksKernel& kernel_;
  decltype(InPlaceBlocksKernel::multiply) product_;
  BsrWeights weights_;
};

const InPlaceKernel* choose(Marks marks, const Weights& w, const PrepareOptions& options) {
  struct Entry {
    const InPlaceKernel* kernel;
    uint32_t needs;
  };
  static const std::vector<Entry> kernels{
#define PRUNE_IN_PLACE_KERNEL(name, needs) {&name, needs},
#define PRUNE_IN_PLACE_BLOCKS_KERNEL(name, needs)
#include "kernels/sparse/in_place/kernels.inc"
#undef PRUNE_IN_PLACE_KERNEL
#undef PRUNE_IN_PLACE_BLOCKS_KERNEL
  };
  for (const auto& [kernel, needs] : kernels) {
    const bool wanted = options.kernel.empty() || options.kernel == kernel->name;
    const bool takes = kernel->marks == marks && kernel->type == w.type && product_of(*kernel, w) != nullptr;
    if (wanted && takes && isa::runs_on(needs, options.isa)) return kernel;
  }
  return nullptr;
}

template <class W>
std::unique_ptr<const Layout> make(const W& weights, Marks marks, const PrepareOptions& options) {
  const InPlaceKernel* kernel = choose(marks, weights, options);
  if (kernel == nullptr) return nullptr;
  return at_first_use(kernel->name, [=] { return std::make_unique<InPlace<W>>(weights, *kernel); });
}

}  // namespace

std::unique_ptr<const Layout> make_in_place(const NmWeights& weights, const PrepareOptions& options) {
  if (weights.keep != 2 || weights.group != 4) return nullptr;
  return make(weights, Marks::kNm24, options);
}

std::unique_ptr<const Layout> make_in_place(const BitmaskWeights& weights, const PrepareOptions& options) {
  return make(weights, Marks::kBitmask, options);
}

std::unique_ptr<const Layout> make_in_place(const BsrWeights& weights, const PrepareOptions& options) {
  struct Entry {
    const InPlaceBlocksKernel* kernel;
    uint32_t needs;
  };
  static const std::vector<Entry> kernels{
#define PRUNE_IN_PLACE_KERNEL(name, needs)
#define PRUNE_IN_PLACE_BLOCKS_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/in_place/kernels.inc"
#undef PRUNE_IN_PLACE_KERNEL
#undef PRUNE_IN_PLACE_BLOCKS_KERNEL
  };
  for (const auto& [kernel, needs] : kernels) {
    const bool wanted = options.kernel.empty() || options.kernel == kernel->name;
    const bool takes = kernel->type == weights.type && product_of(*kernel, weights) != nullptr &&
                       InPlaceBlocks::takes(weights, *kernel);
    if (!wanted || !takes || !isa::runs_on(needs, options.isa)) continue;
    return at_first_use(kernel->name,
                        [=, kernel = kernel] { return std::make_unique<InPlaceBlocks>(weights, *kernel); });
  }
  return nullptr;
}

}  // namespace prune::kernels
