#include "kernels/sparse/spmm_csr/spmm_csr.h"

#include <cstring>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/spmm_csr/kernel.h"

namespace prune::kernels {
namespace {

int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// Offsets of every row's values; they are the running total of the work, too.
std::vector<int64_t> count_rows(const RowSource& source) {
  std::vector<int64_t> starts(static_cast<size_t>(source.rows) + 1);
  std::vector<int32_t> columns(source.cols);
  std::vector<float> row(source.cols);
  for (int64_t r = 0; r < source.rows; ++r)
    starts[r + 1] = starts[r] + source.decode(r, columns.data(), row.data());
  return starts;
}

class Csr final : public FewRows {
 public:
  Csr(const RowSource& source, const CsrKernel& kernel) : Csr(source, kernel, count_rows(source)) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override {
    return values_.size() + columns_.size() + starts_.size() * sizeof(int64_t) + frame_bytes();
  }

 private:
  Csr(const RowSource& source, const CsrKernel& kernel, std::vector<int64_t> starts)
      : FewRows(source.rows, 1, source.scales, starts),
        kernel_(kernel),
        cols_(source.cols),
        starts_(std::move(starts)),
        values_(starts_.back() * weight_bytes(kernel.type)),
        columns_(starts_.back() * (narrow() ? sizeof(uint16_t) : sizeof(uint32_t))) {
    std::vector<int32_t> columns(source.cols);
    std::vector<float> row(source.cols);
    for (int64_t r = 0; r < source.rows; ++r) {
      const int64_t count = source.decode(r, columns.data(), row.data());
      for (int64_t i = 0; i < count; ++i) {
        store_weight(values_.as<void>(), kernel.type, starts_[r] + i, row[i]);
        if (narrow()) {
          columns_.as<uint16_t>()[starts_[r] + i] = static_cast<uint16_t>(columns[i]);
        } else {
          columns_.as<uint32_t>()[starts_[r] + i] = static_cast<uint32_t>(columns[i]);
        }
      }
    }
  }

  bool narrow() const { return cols_ <= 65536; }
  // A line more than a row takes: rows a power of two apart would meet in the same sets of the cache.
  int64_t x_stride() const {
    constexpr int64_t kLine = Buffer::kAlignment / sizeof(float);
    return round_up(cols_, kLine) + kLine;
  }
  size_t packed_x_bytes() const override { return x_stride() * sizeof(float); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    std::memcpy(packed + i * packed_x_bytes(), x, cols_ * sizeof(float));
  }

  void multiply(int64_t row, const void* x, int64_t n, float* sums) const override {
    const char* values = values_.as<char>() + starts_[row] * weight_bytes(kernel_.type);
    const int64_t count = starts_[row + 1] - starts_[row];
    const float* inputs = static_cast<const float*>(x);
    if (narrow()) {
      kernel_.multiply16(values, columns_.as<uint16_t>() + starts_[row], count, inputs, x_stride(), n, sums);
    } else {
      kernel_.multiply32(values, columns_.as<uint32_t>() + starts_[row], count, inputs, x_stride(), n, sums);
    }
  }

  const CsrKernel& kernel_;
  int64_t cols_;
  std::vector<int64_t> starts_;
  Buffer values_, columns_;
};

}  // namespace

std::unique_ptr<const Layout> make_csr(const RowSource& source, const PrepareOptions& options) {
  static const struct {
    const CsrKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_CSR_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/spmm_csr/kernels.inc"
#undef PRUNE_CSR_KERNEL
  };
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa) || entry.kernel->type != source.type) continue;
    if (!options.kernel.empty() && options.kernel != entry.kernel->name) continue;
    return std::make_unique<Csr>(source, *entry.kernel);
  }
  return nullptr;
}

}  // namespace prune::kernels
