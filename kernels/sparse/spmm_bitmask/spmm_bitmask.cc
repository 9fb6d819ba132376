#include "kernels/sparse/spmm_bitmask/spmm_bitmask.h"

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/spmm_bitmask/kernel.h"

namespace prune::kernels {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

class Bitmask final : public FewRows {
 public:
  Bitmask(const RowSource& source, const BitmaskKernel& kernel)
      : FewRows(source.rows, kBitmaskGroupRows, source.scales,
                equal_costs(divide_up(source.rows, kBitmaskGroupRows))),
        kernel_(kernel),
        cols_(source.cols),
        chunks_(divide_up(source.cols, kBitmaskChunk)),
        masks_(groups() * kBitmaskGroupRows * chunks_ * sizeof(uint32_t)),
        row_starts_(groups() * kBitmaskGroupRows) {
    std::vector<float> kept;
    std::vector<int32_t> columns(source.cols);
    std::vector<float> row(source.cols);
    for (int64_t r = 0; r < groups() * kBitmaskGroupRows; ++r) {
      row_starts_[r] = static_cast<int64_t>(kept.size());
      const int64_t count = r < source.rows ? source.decode(r, columns.data(), row.data()) : 0;
      for (int64_t i = 0; i < count; ++i) {
        if (row[i] == 0.0f) continue;  // stored to fill a group or a block
        kept.push_back(row[i]);
        mask_word(r, columns[i] / kBitmaskChunk) |= 1u << columns[i] % kBitmaskChunk;
      }
    }
    values_ = Buffer(kept.size() * weight_bytes(kernel.type));
    for (size_t i = 0; i < kept.size(); ++i) store_weight(values_.as<void>(), kernel.type, i, kept[i]);
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override {
    return values_.size() + masks_.size() + row_starts_.size() * sizeof(int64_t) + frame_bytes();
  }

 private:
  uint32_t& mask_word(int64_t r, int64_t chunk) {
    const int64_t group = r / kBitmaskGroupRows, inner = r % kBitmaskGroupRows;
    return masks_.as<uint32_t>()[(group * chunks_ + chunk) * kBitmaskGroupRows + inner];
  }

  size_t packed_x_bytes() const override { return chunks_ * kBitmaskChunk * kernel_.x_bytes; }
  void pack_x(const float* x, void* packed) const override { kernel_.pack_x(x, cols_, chunks_, packed); }

  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    BitmaskStream stream;
    for (int64_t r = 0; r < kBitmaskGroupRows; ++r) {
      stream.values[r] =
          values_.as<char>() + row_starts_[group * kBitmaskGroupRows + r] * weight_bytes(kernel_.type);
    }
    stream.masks = masks_.as<uint32_t>() + group * chunks_ * kBitmaskGroupRows;
    stream.chunks = chunks_;
    kernel_.multiply(stream, x, n, sums);
  }

  const BitmaskKernel& kernel_;
  int64_t cols_;
  int64_t chunks_;
  Buffer masks_, values_;
  std::vector<int64_t> row_starts_;
};

}  // namespace

std::unique_ptr<const Layout> make_bitmask(const RowSource& source, const PrepareOptions& options) {
  static const struct {
    const BitmaskKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_BITMASK_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/spmm_bitmask/kernels.inc"
#undef PRUNE_BITMASK_KERNEL
  };
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa) || entry.kernel->type != source.type) continue;
    if (!options.kernel.empty() && options.kernel != entry.kernel->name) continue;
    return std::make_unique<Bitmask>(source, *entry.kernel);
  }
  return nullptr;
}

}  // namespace prune::kernels
