// A pruned linear layer: the drop-in for a dense one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <prune/mask.h>

#include "kernels/sparse/plan.h"
#include "libprune/model/crossover.h"
#include "libprune/model/packed_arrays.h"
#include "libprune/model/plain_linear.h"
#include "libprune/model/rounding.h"

namespace prune {

class TuningTable;

struct SparseLinearOptions {
  Rounding rounding = Rounding::kBf16;
  // Of int8 weights: kernels may round many rows of X to int8 instead, each to steps of its own (see
  // kernels::PrepareOptions). Not with Rounding::kNone.
  bool int8_inputs = false;
  // Beside the layout for a few rows of X, hold a second one for many. Without, a layer takes the memory of
  // its stored weights once.
  bool second_layout = false;
  // Batches of at least this many rows run on a dense product: of a packed checkpoint's weight tile by tile
  // of expanded rows, of weights and a mask with the weights held dense beside the layout. With 1 all do, and
  // nothing is laid out; with kNever none does, and nothing is held beside the layout. Not given: looked up
  // in `tuning`, and measured if it is not there (a few hundred milliseconds for each kind of layer).
  std::optional<int64_t> dense_from = {};
  TuningTable* tuning = nullptr;  // nullptr: TuningTable::of_user()
  // Checks a packed checkpoint's weight by the first forward(), of any n, which throws what the constructor
  // would, where until then nothing reads its arrays: where no layout and no measurement needs them. The
  // PackedCheckpoint must then outlive the layer.
  bool check_at_first_use = false;
  // Instead of dense_from: no batch runs on a dense product where a kernel for many rows multiplies the
  // stored arrays as they lie, rounds inputs as that product does and is no slower (without a pattern at most
  // 30% of the weights stay, or 50% where nothing is rounded), all do elsewhere. Nothing is measured or laid
  // out, and the choice is the same in every run.
  bool for_many_rows = false;
};

// Y[n, out] = X[n, in] W^T + bias with float X, Y and bias. W is float, bf16, or int8 times a scale for every
// row or group of its columns; where the kernel or the dense product multiplies bf16, X is rounded to bf16
// first; options.rounding says whether any may.
//
// Which of its ways a batch takes depends on n alone, so equal calls give equal bits. Threads may run one
// layer at once.
class SparseLinear {
 public:
  static constexpr int64_t kNever = prune::kNever;

  // A weight of a packed checkpoint (checked: Error(kInput)). Where a kernel multiplies it as it lies
  // in the file's map, nothing is copied; else it is laid out for this machine, and batches of many rows read
  // the map again. Either way the checkpoint must outlive the layer. bias [out] or null, copied.
  SparseLinear(const PackedCheckpoint& checkpoint, const PackedWeight& weight, const float* bias = nullptr,
               const SparseLinearOptions& options = {});
  // The weights [out, in] that `mask` keeps, in the packed format that holds them in the fewest bytes.
  // Copied. Where some batches are faster dense, the weights are held dense, too, and where one row is
  // not clearly faster sparse, nothing else. Throws Error(kUsage) when the shapes differ.
  SparseLinear(const ConstView<float>& weights, const Mask& mask, const float* bias = nullptr,
               const SparseLinearOptions& options = {});
  SparseLinear(const ConstView<bf16>& weights, const Mask& mask, const float* bias = nullptr,
               const SparseLinearOptions& options = {});

  SparseLinear(SparseLinear&&) noexcept = default;
  SparseLinear& operator=(SparseLinear&&) noexcept = default;

  int64_t out() const { return out_; }
  int64_t in() const { return in_; }

  // y[i * ldy + r] for i < n; n >= 0. Y must not overlap X. Throws Error(kRuntime) where oneDNN fails, and
  // see check_at_first_use.
  void forward(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const;

  // Memory that the layer holds, and bytes that it reads from the file for each row of X.
  size_t bytes() const;
  size_t in_place_bytes() const { return arrays_ && is_in_place() ? arrays_->mapped_bytes() : 0; }
  int64_t dense_from() const { return dense_from_; }
  // What a batch of n rows runs on: "nm24_bf16_avx512bf16", or "dense".
  const char* kernel_name(int64_t n) const;

 private:
  // A weight that PackedCheckpoint::check() is still to see. (Not a once_flag: an exception out of
  // call_once makes the next caller wait for ever with ThreadSanitizer.)
  struct Unchecked {
    Unchecked(const PackedCheckpoint& c, const PackedWeight& w) : checkpoint(c), weight(w) {}

    const PackedCheckpoint& checkpoint;
    const PackedWeight weight;
    std::mutex mutex;
    std::atomic<bool> passed = false;
  };

  template <class T>
  void hold(const ConstView<T>& weights, const Mask& mask, const SparseLinearOptions& options);
  kernels::Plan make_plan(kernels::PrepareOptions options) const;
  void check_first() const;
  // Whether every way reads the packed arrays themselves.
  bool is_in_place() const { return plan_.rows() == 0 || plan_.is_in_place(); }
  void choose(const SparseLinearOptions& options, const std::string& kind);
  int64_t measure_dense_from() const;
  void forward_dense(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const;
  void finish_tile(int64_t first, int64_t count, float* y, int64_t ldy, int64_t n) const;

  int64_t out_, in_;
  Rounding rounding_ = Rounding::kBf16;
  kernels::Plan plan_;  // empty where dense_from is 1
  // To multiply in place, and to expand from; nothing where neither is done.
  std::optional<PackedArrays> arrays_;
  // Of weights and a mask, where some batches are faster dense.
  std::vector<std::byte> dense_weights_;
  std::optional<PlainLinear> dense_;
  std::unique_ptr<Unchecked> unchecked_;  // null where the constructor's check saw all
  std::vector<float> bias_;
  int64_t dense_from_ = kNever;
};

}  // namespace prune
