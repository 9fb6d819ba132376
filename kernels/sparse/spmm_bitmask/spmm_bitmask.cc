#include "kernels/sparse/spmm_bitmask/spmm_bitmask.h"

#include <cstring>

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
        chunks_(divide_up(source.cols, kernel.chunk)),
        masks_(groups() * group_words() * sizeof(uint32_t)),
        group_starts_(groups() + 1) {
    std::vector<uint8_t> kept;
    for (int64_t g = 0; g < groups(); ++g) {
      append_group(source, g, kept);
      group_starts_[g + 1] = static_cast<int64_t>(kept.size());
    }
    values_ = Buffer(kept.size());
    if (!kept.empty()) std::memcpy(values_.as<void>(), kept.data(), kept.size());
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override {
    return values_.size() + masks_.size() + group_starts_.size() * sizeof(int64_t) + frame_bytes();
  }

 private:
  int64_t chunk_words() const { return kernel_.chunk / 32; }
  int64_t group_words() const { return chunks_ * kBitmaskGroupRows * chunk_words(); }

  // The values of a group in the order that a kernel wants them: chunk by chunk, row by row.
  void append_group(const RowSource& source, int64_t group, std::vector<uint8_t>& kept) {
    std::vector<int32_t> columns[kBitmaskGroupRows];
    std::vector<float> rows[kBitmaskGroupRows];
    int64_t counts[kBitmaskGroupRows] = {}, next[kBitmaskGroupRows] = {};
    for (int64_t r = 0; r < kBitmaskGroupRows; ++r) {
      columns[r].resize(source.cols);
      rows[r].resize(source.cols);
      const int64_t row = group * kBitmaskGroupRows + r;
      if (row < source.rows) counts[r] = source.decode(row, columns[r].data(), rows[r].data());
    }
    auto* words = masks_.as<uint32_t>() + group * group_words();
    for (int64_t c = 0; c < chunks_; ++c) {
      for (int64_t r = 0; r < kBitmaskGroupRows; ++r, words += chunk_words()) {
        for (int64_t& i = next[r]; i < counts[r] && columns[r][i] < (c + 1) * kernel_.chunk; ++i) {
          if (rows[r][i] == 0.0f) continue;  // stored to fill a group or a block
          const int64_t place = columns[r][i] - c * kernel_.chunk;
          words[place / 32] |= 1u << place % 32;
          append_value(rows[r][i], kept);
        }
      }
    }
  }

  void append_value(float value, std::vector<uint8_t>& kept) const {
    if (kernel_.sign_magnitude) return kept.push_back(sign_magnitude(value));
    const size_t size = static_cast<size_t>(weight_bytes(kernel_.type)), at = kept.size();
    kept.resize(at + size);
    store_weight(kept.data() + at, kernel_.type, 0, value);
  }

  size_t packed_x_bytes() const override { return chunks_ * kernel_.chunk * kernel_.x_bytes; }
  void pack_x(const float* x, int64_t i, int64_t n, char* packed) const override {
    for (int64_t c = 0; c < chunks_; ++c) {
      const int64_t first = c * kernel_.chunk;
      kernel_.pack_chunk(x + first, cols_ - first, packed + (c * n + i) * kernel_.chunk * kernel_.x_bytes);
    }
  }

  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    const BitmaskStream stream{.values = values_.as<char>() + group_starts_[group],
                               .masks = masks_.as<uint32_t>() + group * group_words(),
                               .chunks = chunks_};
    kernel_.multiply(stream, x, n, sums);
  }

  const BitmaskKernel& kernel_;
  int64_t cols_;
  int64_t chunks_;
  Buffer masks_, values_;
  std::vector<int64_t> group_starts_;  // bytes of values before each group
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
    if (entry.kernel->sign_magnitude && has_minus_128(source)) continue;
    return std::make_unique<Bitmask>(source, *entry.kernel);
  }
  return nullptr;
}

}  // namespace prune::kernels
