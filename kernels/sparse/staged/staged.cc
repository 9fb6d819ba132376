#include "kernels/sparse/staged/staged.h"

#include <algorithm>
#include <vector>

#include "kernels/sparse/at_first_use.h"
#include "kernels/sparse/buffer.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/row_lanes/kernel.h"
#include "kernels/sparse/six_pairs/kernel.h"
#include "kernels/sparse/threads.h"

namespace prune::kernels {
namespace {

int64_t round_up_rows(int64_t rows) { return (rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether; }

// Rows that share a block of pairs: enough to pay for making it, few enough that their sums stay in the
// second-level cache and that every thread has some chunks of them.
int64_t choose_chunk_rows(int64_t rows, int64_t most) {
  constexpr int64_t kEnoughRows = 256, kEnoughChunks = 4;
  while (most > kEnoughRows && rows < most * kEnoughChunks * available_threads()) most /= 2;
  return std::min(most, round_up_rows(rows));
}

int64_t scales_stride(const Weights& w) { return w.scale_group == 0 ? 0 : scales_per_row(w); }

Nm24Rows rows_of(const NmWeights& w, int64_t first, int64_t count) {
  const int64_t index_bytes = nm_row_bytes(w.cols, w.keep, w.group);
  return {.values = static_cast<const char*>(w.values) + first * (w.cols / 2) * weight_bytes(w.type),
          .indices = w.indices + first * index_bytes,
          .rows = count,
          .cols = w.cols,
          .index_bytes = index_bytes,
          .scales = group_scales(w, first),
          .scales_stride = scales_stride(w)};
}
BitmaskRows rows_of(const BitmaskWeights& w, int64_t first, int64_t count) {
  return {.values = w.values,
          .row_offsets = w.row_offsets + first,
          .bitmask = w.bitmask + first * ((w.cols + 7) / 8),
          .rows = count,
          .cols = w.cols,
          .scales = group_scales(w, first),
          .scales_stride = scales_stride(w)};
}

template <class Rows>
int64_t blocks_of(const Weights& w, const StagedKernel<Rows>& kernel) {
  return (w.cols + kernel.block_inputs - 1) / kernel.block_inputs;
}

// In place, a thread stages a chunk for every batch; else all are staged once.
template <class W, class Rows>
class Staged final : public ManyRows {
 public:
  Staged(const W& w, const StagedKernel<Rows>& kernel, const Cut& cut, bool in_place)
      : ManyRows(
            w.rows, w.cols, cut.chunk_rows, kernel.panel, copy_row_scales(w),
            kernel.block_bytes + (in_place ? kernel.staged_bytes(cut.chunk_rows, cut.segment_blocks) : 0)),
        kernel_(kernel),
        stage_(w.scale_group == 0 ? kernel.stage : kernel.stage_scaled),
        weights_(w),
        cut_(cut),
        in_place_(in_place) {
    if (in_place) return;
    const int64_t bytes = kernel.staged_bytes(cut.chunk_rows, block_count());
    staged_ = Buffer(static_cast<size_t>(chunks() * bytes));
#pragma omp parallel for
    for (int64_t c = 0; c < chunks(); ++c)
      stage_(rows_of(w, c * cut.chunk_rows, rows_in(c)), {0, block_count()}, staged_.as<char>() + c * bytes);
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override {
    return in_place_ ? stored_bytes(weights_) + group_scale_bytes(weights_) : own_bytes();
  }
  size_t own_bytes() const override { return staged_.size() + frame_bytes(); }
  bool is_in_place() const override { return in_place_; }

 private:
  int64_t rows_in(int64_t chunk) const {
    return std::min(cut_.chunk_rows, weights_.rows - chunk * cut_.chunk_rows);
  }
  int64_t block_count() const { return blocks_of(weights_, kernel_); }
  Blocks blocks_in(int64_t segment) const {
    const int64_t first = segment * cut_.segment_blocks;
    return {first, std::min(cut_.segment_blocks, block_count() - first)};
  }

  // Of a chunk that was staged once, from a block on.
  const char* staged_blocks(int64_t chunk, int64_t first) const {
    const int64_t rows = round_up_rows(rows_in(chunk));
    return staged_.as<char>() + chunk * kernel_.staged_bytes(cut_.chunk_rows, block_count()) +
           kernel_.staged_bytes(rows, first) - kernel_.staged_bytes(rows, 0);
  }

  bool stages() const override { return in_place_; }
  int64_t segments() const override {
    if (block_count() == 0) return 1;
    return (block_count() + cut_.segment_blocks - 1) / cut_.segment_blocks;
  }
  void stage(int64_t chunk, int64_t segment, void* scratch) const override {
    stage_(rows_of(weights_, chunk * cut_.chunk_rows, rows_in(chunk)), blocks_in(segment),
           static_cast<char*>(scratch) + kernel_.block_bytes);
  }
  void multiply(int64_t chunk, int64_t segment, const Panel& panel, float* tile,
                void* scratch) const override {
    const char* staged = in_place_ ? static_cast<const char*>(scratch) + kernel_.block_bytes
                                   : staged_blocks(chunk, blocks_in(segment).first);
    kernel_.multiply(rows_in(chunk), weights_.cols, blocks_in(segment), staged, panel, tile, scratch);
  }

  const StagedKernel<Rows>& kernel_;
  decltype(StagedKernel<Rows>::stage) stage_;
  W weights_;  // only its shape where it was staged
  Cut cut_;
  bool in_place_;
  Buffer staged_;
};

template <class Rows>
struct Entry {
  const StagedKernel<Rows>* kernel;
  uint32_t needs;
};

// Null where none takes them.
template <class Rows>
const StagedKernel<Rows>* choose(const std::vector<Entry<Rows>>& kernels, const Weights& weights,
                                 const PrepareOptions& options) {
  for (const auto& [kernel, needs] : kernels) {
    const bool wanted =
        options.kernel.empty() ? options.int8_inputs || !kernel->in_bytes : options.kernel == kernel->name;
    const bool takes = kernel->type == weights.type &&
                       (!kernel->in_bytes || weights.cols <= kMostByteInputs) &&
                       (weights.scale_group == 0 || kernel->stage_scaled != nullptr);
    const Cut& cut = options.in_place ? kernel->in_place : kernel->once;
    if (wanted && takes && cut.chunk_rows > 0 && isa::runs_on(needs, options.isa)) return kernel;
  }
  return nullptr;
}

template <class Rows, class W>
std::unique_ptr<const Layout> make(const StagedKernel<Rows>* kernel, const W& weights, bool in_place) {
  if (kernel == nullptr) return nullptr;
  const Cut& most = in_place ? kernel->in_place : kernel->once;
  const Cut cut = {choose_chunk_rows(weights.rows, most.chunk_rows),
                   std::min(most.segment_blocks, blocks_of(weights, *kernel))};
  const auto make = [=] { return std::make_unique<Staged<W, Rows>>(weights, *kernel, cut, in_place); };
  return in_place ? at_first_use(kernel->name, make) : make();
}

const StagedKernel<Nm24Rows>* choose24(const NmWeights& weights, const PrepareOptions& options) {
  static const std::vector<Entry<Nm24Rows>> kernels{
#define PRUNE_ROW_LANES_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/row_lanes/kernels.inc"
#undef PRUNE_ROW_LANES_KERNEL
#define PRUNE_SIX_PAIRS_NM24_KERNEL(name, needs) {&name, needs},
#define PRUNE_SIX_PAIRS_BITMASK_KERNEL(name, needs)
#include "kernels/sparse/six_pairs/kernels.inc"
#undef PRUNE_SIX_PAIRS_NM24_KERNEL
#undef PRUNE_SIX_PAIRS_BITMASK_KERNEL
  };
  return weights.keep == 2 && weights.group == 4 ? choose(kernels, weights, options) : nullptr;
}

}  // namespace

bool rounds_to_bytes(const NmWeights& weights, const PrepareOptions& options) {
  const StagedKernel<Nm24Rows>* kernel = choose24(weights, options);
  return kernel != nullptr && kernel->in_bytes;
}

std::unique_ptr<const Layout> make_staged(const NmWeights& weights, const PrepareOptions& options) {
  return make(choose24(weights, options), weights, options.in_place);
}

std::unique_ptr<const Layout> make_staged(const BitmaskWeights& weights, const PrepareOptions& options) {
  static const std::vector<Entry<BitmaskRows>> kernels{
#define PRUNE_SIX_PAIRS_NM24_KERNEL(name, needs)
#define PRUNE_SIX_PAIRS_BITMASK_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/six_pairs/kernels.inc"
#undef PRUNE_SIX_PAIRS_NM24_KERNEL
#undef PRUNE_SIX_PAIRS_BITMASK_KERNEL
  };
  return make(choose(kernels, weights, options), weights, options.in_place);
}

}  // namespace prune::kernels
