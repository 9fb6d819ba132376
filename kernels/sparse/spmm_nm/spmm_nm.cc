#include "kernels/sparse/spmm_nm/spmm_nm.h"

#include <algorithm>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/row_source.h"
#include "kernels/sparse/spmm_nm/kernel.h"

namespace prune::kernels {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Of a row of X: blocks of sixteen rows fit the first-level cache.
constexpr int64_t kBlockBytes = 2048;

class Nm24 final : public FewRows {
 public:
  static_assert(kMaxBatch <= kNm24MostBatch && kNm24GroupRows <= kMaxGroupRows);

  Nm24(const NmWeights& w, const Nm24Kernel& kernel)
      : FewRows(w.rows, kNm24GroupRows, copy_row_scales(w), equal_costs(divide_up(w.rows, kNm24GroupRows))),
        kernel_(kernel),
        cols_(w.cols),
        chunks_(divide_up(w.cols, kernel.chunk)),
        values_(groups() * kNm24GroupRows * row_values() * weight_bytes(w.type)),
        indices_(groups() * kNm24GroupRows * chunks_ * index_bytes()) {
#pragma omp parallel for
    for (int64_t r = 0; r < w.rows; ++r) fill_row(w, r);
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return values_.size() + indices_.size() + frame_bytes(); }

 private:
  int64_t row_values() const { return chunks_ * kernel_.chunk / 2; }
  int64_t index_bytes() const { return kernel_.chunk / 8; }
  int64_t block_chunks() const { return kBlockBytes / (kernel_.chunk * kernel_.x_bytes); }

  // Which of all chunks lies where, as Nm24Stream describes.
  int64_t place(int64_t r, int64_t chunk) const {
    const int64_t first = chunk / block_chunks() * block_chunks();
    const int64_t block = std::min(block_chunks(), chunks_ - first);
    const int64_t quad = r % kNm24GroupRows / kNm24QuadRows, inner = r % kNm24QuadRows;
    return (r / kNm24GroupRows * chunks_ + first) * kNm24GroupRows +
           (quad * block + chunk - first) * kNm24QuadRows + inner;
  }

  void fill_row(const NmWeights& w, int64_t r) {
    const int64_t present = w.cols / 2, per_chunk = kernel_.chunk / 2;
    for (int64_t i = 0; i < row_values(); ++i) {
      const int64_t natural = i / per_chunk * per_chunk + kernel_.order(static_cast<int32_t>(i % per_chunk));
      if (natural >= present) continue;  // past the last input: stays zero
      const int64_t to = place(r, i / per_chunk) * per_chunk + i % per_chunk;
      const float value = load_weight(w.values, w.type, r * present + natural);
      if (kernel_.sign_magnitude) {
        values_.as<uint8_t>()[to] = sign_magnitude(value);
      } else {
        store_weight(values_.as<void>(), w.type, to, value);
      }
    }
    const int64_t row_bytes = nm_row_bytes(w.cols, w.keep, w.group);
    for (int64_t b = 0; b < row_bytes; ++b) {
      const int64_t to = place(r, b / index_bytes()) * index_bytes() + b % index_bytes();
      indices_.as<uint8_t>()[to] = w.indices[r * row_bytes + b];
    }
  }

  size_t packed_x_bytes() const override { return chunks_ * kernel_.chunk * kernel_.x_bytes; }
  void pack_x(const float* x, int64_t i, int64_t n, char* packed) const override {
    for (int64_t c = 0; c < chunks_; ++c) {
      const int64_t first = c * kernel_.chunk;
      kernel_.pack_chunk(x + first, cols_ - first, packed + (c * n + i) * kernel_.chunk * kernel_.x_bytes);
    }
  }

  void multiply(int64_t group, const void* x, int64_t n, float* sums) const override {
    const int64_t row = group * kNm24GroupRows;
    const Nm24Stream stream{
        .values = values_.as<char>() + row * row_values() * weight_bytes(kernel_.type),
        .indices = reinterpret_cast<const uint32_t*>(indices_.as<char>() + row * chunks_ * index_bytes()),
        .chunks = chunks_,
        .block_chunks = block_chunks()};
    kernel_.multiply(stream, x, n, sums);
  }

  const Nm24Kernel& kernel_;
  int64_t cols_;
  int64_t chunks_;
  Buffer values_, indices_;
};

}  // namespace

std::unique_ptr<const Layout> make_nm24(const NmWeights& weights, const PrepareOptions& options) {
  if (weights.scale_group != 0) return nullptr;
  static const struct {
    const Nm24Kernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_NM24_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/spmm_nm/kernels.inc"
#undef PRUNE_NM24_KERNEL
  };
  if (weights.keep != 2 || weights.group != 4) return nullptr;
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa) || entry.kernel->type != weights.type) continue;
    if (!options.kernel.empty() && options.kernel != entry.kernel->name) continue;
    if (entry.kernel->sign_magnitude && has_minus_128(read_rows(weights))) continue;
    return std::make_unique<Nm24>(weights, *entry.kernel);
  }
  return nullptr;
}

}  // namespace prune::kernels
