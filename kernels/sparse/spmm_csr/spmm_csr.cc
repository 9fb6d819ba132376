#include "kernels/sparse/spmm_csr/spmm_csr.h"

#include <algorithm>
#include <cstring>

#include "kernels/sparse/at_first_use.h"
#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/spmm_csr/kernel.h"

namespace prune::kernels {
namespace {

int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// Of n rows that lie side by side: at most twice n.
static_assert(csr_width(2) == 2 * 2 && csr_width(9) <= 2 * 9 && FewRows::kMaxBatch == kMostCsrRows);
size_t packed_x_bytes_of(int64_t cols) {
  constexpr int64_t kLine = Buffer::kAlignment / sizeof(float);
  return static_cast<size_t>(round_up(2 * cols, kLine)) * sizeof(float);
}
void pack_x_beside(const float* x, int64_t cols, int64_t i, int64_t n, char* packed) {
  float* column = reinterpret_cast<float*>(packed) + i;
  if (n == 1) {
    std::memcpy(column, x, static_cast<size_t>(cols) * sizeof(float));
  } else {
    for (int64_t k = 0; k < cols; ++k) column[k * csr_width(n)] = x[k];
  }
}

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
  size_t packed_x_bytes() const override { return packed_x_bytes_of(cols_); }
  void pack_x(const float* x, int64_t i, int64_t n, char* packed) const override {
    pack_x_beside(x, cols_, i, n, packed);
  }

  void multiply(int64_t row, const void* x, int64_t n, float* sums) const override {
    const char* values = values_.as<char>() + starts_[row] * weight_bytes(kernel_.type);
    const int64_t count = starts_[row + 1] - starts_[row];
    const float* inputs = static_cast<const float*>(x);
    if (narrow()) {
      kernel_.multiply16(values, columns_.as<uint16_t>() + starts_[row], count, inputs, n, sums);
    } else {
      kernel_.multiply32(values, columns_.as<uint32_t>() + starts_[row], count, inputs, n, sums);
    }
  }

  const CsrKernel& kernel_;
  int64_t cols_;
  std::vector<int64_t> starts_;
  Buffer values_, columns_;
};

class InPlaceCsr final : public FewRows {
 public:
  InPlaceCsr(const CsrWeights& weights, const CsrKernel& kernel)
      : FewRows(weights.rows, kGroupRows, copy_row_scales(weights), costs(weights)),
        kernel_(kernel),
        weights_(weights) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return stored_bytes(weights_); }
  size_t own_bytes() const override { return frame_bytes(); }
  bool is_in_place() const override { return true; }

 private:
  // Little is left of a row: the frame's part of the time is that of sixteen.
  static constexpr int64_t kGroupRows = 16;

  static std::vector<int64_t> costs(const CsrWeights& w) {
    constexpr int64_t kCostOfRow = 8;  // in weights
    std::vector<int64_t> costs{0};
    for (int64_t r = kGroupRows; r < w.rows + kGroupRows; r += kGroupRows) {
      const int64_t end = std::min(r, w.rows);
      costs.push_back(w.indptr[end] + kCostOfRow * end);
    }
    return costs;
  }

  size_t packed_x_bytes() const override { return packed_x_bytes_of(weights_.cols); }
  void pack_x(const float* x, int64_t i, int64_t n, char* packed) const override {
    pack_x_beside(x, weights_.cols, i, n, packed);
  }
  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    const int64_t first = group * kGroupRows, present = std::min(kGroupRows, weights_.rows - first);
    float of_row[kMostCsrRows];
    for (int64_t r = 0; r < present; ++r) {
      const int64_t begin = weights_.indptr[first + r], end = weights_.indptr[first + r + 1];
      kernel_.multiply32(static_cast<const char*>(weights_.values) + begin * weight_bytes(weights_.type),
                         reinterpret_cast<const uint32_t*>(weights_.indices) + begin, end - begin,
                         static_cast<const float*>(x), n, of_row);
      for (int64_t i = 0; i < n; ++i) sums[i * kGroupRows + r] = of_row[i];
    }
  }

  const CsrKernel& kernel_;
  CsrWeights weights_;
};

const CsrKernel* choose_csr_kernel(WeightType type, const PrepareOptions& options) {
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
  const CsrKernel* kernel = choose_csr_kernel(source.type, options);
  return kernel == nullptr ? nullptr : std::make_unique<Csr>(source, *kernel);
}

std::unique_ptr<const Layout> make_csr_in_place(const CsrWeights& weights, const PrepareOptions& options) {
  if (weights.scale_group != 0) return nullptr;
  const CsrKernel* kernel = choose_csr_kernel(weights.type, options);
  if (kernel == nullptr) return nullptr;
  return at_first_use(kernel->name, [=] { return std::make_unique<InPlaceCsr>(weights, *kernel); });
}

}  // namespace prune::kernels
