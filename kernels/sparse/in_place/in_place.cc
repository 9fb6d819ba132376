#include "kernels/sparse/in_place/in_place.h"

#include <algorithm>
#include <vector>

#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/in_place/kernel.h"

namespace prune::kernels {
namespace {

constexpr int64_t kGroupRows = 16;
// Behind each packed row of X: rows a power of two apart would meet in the same sets of the cache.
constexpr int64_t kApart = 32;

std::vector<float> copy_scales(const Weights& w) {
  return w.scales == nullptr ? std::vector<float>{} : std::vector<float>(w.scales, w.scales + w.rows);
}

PackedRow row_of(const NmWeights& w, int64_t r) {
  const int64_t per_row = w.cols / 2;
  return {static_cast<const char*>(w.values) + r * per_row * weight_bytes(w.type), (w.rows - r) * per_row,
          w.indices + r * nm_row_bytes(w.cols, w.keep, w.group)};
}
PackedRow row_of(const BitmaskWeights& w, int64_t r) {
  const int64_t first = w.row_offsets[r];
  return {static_cast<const char*>(w.values) + first * weight_bytes(w.type), w.row_offsets[w.rows] - first,
          w.bitmask + r * ((w.cols + 7) / 8)};
}

int64_t stored_bytes(const NmWeights& w) {
  return w.rows * (w.cols / 2 * weight_bytes(w.type) + nm_row_bytes(w.cols, w.keep, w.group));
}
int64_t stored_bytes(const BitmaskWeights& w) {
  return w.row_offsets[w.rows] * weight_bytes(w.type) +
         w.rows * ((w.cols + 7) / 8 + static_cast<int64_t>(sizeof(int64_t)));
}

template <class W>
class InPlace final : public FewRows {
 public:
  InPlace(const W& weights, const InPlaceKernel& kernel)
      : FewRows(weights.rows, kGroupRows, copy_scales(weights),
                equal_costs((weights.rows + kGroupRows - 1) / kGroupRows)),
        kernel_(kernel),
        weights_(weights) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return static_cast<size_t>(stored_bytes(weights_)); }
  size_t own_bytes() const override { return frame_bytes(); }
  bool is_in_place() const override { return true; }

 private:
  int64_t padded() const { return (weights_.cols + kernel_.chunk - 1) / kernel_.chunk * kernel_.chunk; }
  int64_t x_stride() const { return padded() + kApart; }

  size_t packed_x_bytes() const override { return static_cast<size_t>(x_stride()) * sizeof(uint16_t); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    kernel_.pack_x(x, weights_.cols, padded(), reinterpret_cast<uint16_t*>(packed) + i * x_stride());
  }

  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    const int64_t first = group * kGroupRows, present = std::min(kGroupRows, weights_.rows - first);
    for (int64_t r = 0; r < present; ++r) {
      kernel_.multiply(row_of(weights_, first + r), weights_.cols, static_cast<const uint16_t*>(x),
                       x_stride(), n, sums + r, kGroupRows);
    }
  }

  const InPlaceKernel& kernel_;
  W weights_;
};

const InPlaceKernel* choose(Marks marks, WeightType type, const PrepareOptions& options) {
  struct Entry {
    const InPlaceKernel* kernel;
    uint32_t needs;
  };
  static const std::vector<Entry> kernels{
#define PRUNE_IN_PLACE_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/in_place/kernels.inc"
#undef PRUNE_IN_PLACE_KERNEL
  };
  for (const auto& [kernel, needs] : kernels) {
    const bool wanted = options.kernel.empty() || options.kernel == kernel->name;
    if (wanted && kernel->marks == marks && kernel->type == type && isa::runs_on(needs, options.isa))
      return kernel;
  }
  return nullptr;
}

template <class W>
std::unique_ptr<const Layout> make(const W& weights, Marks marks, const PrepareOptions& options) {
  const InPlaceKernel* kernel = choose(marks, weights.type, options);
  return kernel == nullptr ? nullptr : std::make_unique<InPlace<W>>(weights, *kernel);
}

}  // namespace

std::unique_ptr<const Layout> make_in_place(const NmWeights& weights, const PrepareOptions& options) {
  if (weights.keep != 2 || weights.group != 4) return nullptr;
  return make(weights, Marks::kNm24, options);
}

std::unique_ptr<const Layout> make_in_place(const BitmaskWeights& weights, const PrepareOptions& options) {
  return make(weights, Marks::kBitmask, options);
}

}  // namespace prune::kernels
