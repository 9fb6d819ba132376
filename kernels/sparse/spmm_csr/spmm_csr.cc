#include "kernels/sparse/spmm_csr/spmm_csr.h"

#include <cstring>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/group_scales.h"
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

// Floats as they are: columns are few, and no kernel here rounds them.
class CsrRows : public FewRows {
 public:
  const char* kernel_name() const override { return kernel_.name; }

 protected:
  CsrRows(int64_t rows, int64_t cols, std::vector<float> scales, std::vector<int64_t> starts,
          const CsrKernel& kernel)
      : FewRows(rows, 1, std::move(scales), std::move(starts)), kernel_(kernel), cols_(cols) {}

  // A line more than a row takes: rows a power of two apart would meet in the same sets of the cache.
  int64_t x_stride() const {
    constexpr int64_t kLine = Buffer::kAlignment / sizeof(float);
    return round_up(cols_, kLine) + kLine;
  }
  size_t packed_x_bytes() const override { return x_stride() * sizeof(float); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    std::memcpy(packed + i * packed_x_bytes(), x, cols_ * sizeof(float));
  }

  const CsrKernel& kernel_;
  int64_t cols_;
};

class Csr final : public CsrRows {
 public:
  Csr(const RowSource& source, const CsrKernel& kernel) : Csr(source, kernel, count_rows(source)) {}

  size_t bytes() const override {
    return values_.size() + columns_.size() + starts_.size() * sizeof(int64_t) + frame_bytes();
  }

 private:
  Csr(const RowSource& source, const CsrKernel& kernel, std::vector<int64_t> starts)
      : CsrRows(source.rows, source.cols, source.scales, starts, kernel),
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

  std::vector<int64_t> starts_;
  Buffer values_, columns_;
};

// The arrays as they lie.
class CsrInPlace final : public CsrRows {
 public:
  CsrInPlace(const CsrWeights& w, const CsrKernel& kernel)
      : CsrRows(w.rows, w.cols, copy_row_scales(w), std::vector<int64_t>(w.indptr, w.indptr + w.rows + 1),
                kernel),
        weights_(w) {}

  size_t bytes() const override { return stored_bytes(weights_); }
  size_t own_bytes() const override { return frame_bytes(); }
  bool is_in_place() const override { return true; }

 private:
  void multiply(int64_t row, const void* x, int64_t n, float* sums) const override {
    const int64_t first = weights_.indptr[row];
    kernel_.multiply32(static_cast<const char*>(weights_.values) + first * weight_bytes(weights_.type),
                       reinterpret_cast<const uint32_t*>(weights_.indices) + first,
                       weights_.indptr[row + 1] - first, static_cast<const float*>(x), x_stride(), n, sums);
  }

  CsrWeights weights_;
};

const CsrKernel* choose(WeightType type, const PrepareOptions& options) {
  static const struct {
    const CsrKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_CSR_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/spmm_csr/kernels.inc"
#undef PRUNE_CSR_KERNEL
  };
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa) || entry.kernel->type != type) continue;
    if (options.kernel.empty() || options.kernel == entry.kernel->name) return entry.kernel;
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<const Layout> make_csr(const RowSource& source, const PrepareOptions& options) {
  const CsrKernel* kernel = choose(source.type, options);
  return kernel == nullptr ? nullptr : std::make_unique<Csr>(source, *kernel);
}

std::unique_ptr<const Layout> make_csr_in_place(const CsrWeights& weights, const PrepareOptions& options) {
  if (weights.scale_group != 0) return nullptr;
  const CsrKernel* kernel = choose(weights.type, options);
  return kernel == nullptr ? nullptr : std::make_unique<CsrInPlace>(weights, *kernel);
}

}  // namespace prune::kernels
