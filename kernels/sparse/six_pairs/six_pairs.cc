#include "kernels/sparse/six_pairs/six_pairs.h"

#include <algorithm>
#include <vector>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/six_pairs/kernel.h"
#include "kernels/sparse/threads.h"

namespace prune::kernels {
namespace {

// Rows that share a block of pairs: enough to pay for making it, few enough that their sums stay in the
// second-level cache and that every thread has some.
int64_t choose_chunk_rows(int64_t rows) {
  const int64_t most = rows >= int64_t{512} * available_threads() ? 256 : 128;
  return std::min(most, (rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether);
}

std::vector<float> copy_scales(const Weights& w) {
  return w.scales == nullptr ? std::vector<float>{} : std::vector<float>(w.scales, w.scales + w.rows);
}

// In place, a thread stages a chunk for every batch; else all are staged once.
class SixPairs final : public ManyRows {
 public:
  SixPairs(const NmWeights& w, const SixPairsKernel& kernel, int64_t chunk_rows, bool in_place)
      : ManyRows(w.rows, w.cols, chunk_rows, kernel.panel, copy_scales(w),
                 kernel.block_bytes + (in_place ? kernel.staged_bytes(chunk_rows, w.cols) : 0)),
        kernel_(kernel),
        weights_(w),
        chunk_rows_(chunk_rows) {
    if (in_place) return;
    const int64_t bytes = kernel.staged_bytes(chunk_rows, w.cols);
    staged_ = Buffer(static_cast<size_t>(chunks() * bytes));
#pragma omp parallel for
    for (int64_t c = 0; c < chunks(); ++c) kernel.stage(rows_of(c), staged_.as<char>() + c * bytes);
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return is_in_place() ? stored_bytes() : own_bytes(); }
  size_t own_bytes() const override { return staged_.size() + frame_bytes(); }
  bool is_in_place() const override { return staged_.size() == 0; }

 private:
  int64_t row_values_bytes() const { return weights_.cols / 2 * weight_bytes(weights_.type); }
  int64_t index_bytes() const { return nm_row_bytes(weights_.cols, weights_.keep, weights_.group); }
  size_t stored_bytes() const {
    return static_cast<size_t>(weights_.rows * (row_values_bytes() + index_bytes()));
  }
  int64_t rows_in(int64_t chunk) const { return std::min(chunk_rows_, weights_.rows - chunk * chunk_rows_); }

  Nm24Rows rows_of(int64_t chunk) const {
    const int64_t first = chunk * chunk_rows_;
    return {.values = static_cast<const char*>(weights_.values) + first * row_values_bytes(),
            .indices = weights_.indices + first * index_bytes(),
            .rows = rows_in(chunk),
            .cols = weights_.cols,
            .index_bytes = index_bytes()};
  }

  bool stages() const override { return is_in_place(); }
  void stage(int64_t chunk, void* scratch) const override {
    kernel_.stage(rows_of(chunk), static_cast<char*>(scratch) + kernel_.block_bytes);
  }
  void multiply(int64_t chunk, const void* panel, int64_t columns, float* tile,
                void* scratch) const override {
    const char* staged = is_in_place()
                             ? static_cast<const char*>(scratch) + kernel_.block_bytes
                             : staged_.as<char>() + chunk * kernel_.staged_bytes(chunk_rows_, weights_.cols);
    kernel_.multiply(rows_in(chunk), weights_.cols, staged, panel, columns, tile, scratch);
  }

  const SixPairsKernel& kernel_;
  NmWeights weights_;  // only its shape where it was staged
  int64_t chunk_rows_;
  Buffer staged_;  // empty in place
};

}  // namespace

std::unique_ptr<const Layout> make_six_pairs(const NmWeights& weights, const PrepareOptions& options) {
  struct Entry {
    const SixPairsKernel* kernel;
    uint32_t needs;
  };
  static const std::vector<Entry> kernels{
#define PRUNE_SIX_PAIRS_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/six_pairs/kernels.inc"
#undef PRUNE_SIX_PAIRS_KERNEL
  };
  if (weights.keep != 2 || weights.group != 4) return nullptr;
  for (const auto& [kernel, needs] : kernels) {
    const bool wanted = options.kernel.empty() || options.kernel == kernel->name;
    if (wanted && kernel->type == weights.type && isa::runs_on(needs, options.isa))
      return std::make_unique<SixPairs>(weights, *kernel, choose_chunk_rows(weights.rows), options.in_place);
  }
  return nullptr;
}

}  // namespace prune::kernels
