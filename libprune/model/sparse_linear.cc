#include "libprune/model/sparse_linear.h"

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <type_traits>

#include <prune/error.h>

#include "kernels/sparse/expand/expand.h"
#include "libprune/model/bf16.h"
#include "libprune/model/dense_linear.h"
#include "libprune/model/format_choice.h"
#include "libprune/model/gemm.h"
#include "libprune/model/pack_dense.h"
#include "libprune/model/sparsity_profile.h"
#include "libprune/model/tuning.h"

namespace prune {
namespace {

// Of expanded rows at a time: stays in the caches that two products share, and is enough work for one.
constexpr int64_t kTileBytes = int64_t{4} << 20;
// Per cent of the weights that stay up to which, without a pattern, a kernel for many rows that reads the
// stored arrays is as fast as those tiles: see six pairs and staged lists in docs/kernels.md. Products of
// floats take longer, beside which lists take less, but those of weights that are decoded one by one.
constexpr int64_t kMostPercentUnstructured = 30, kMostPercentUnstructuredOfFloats = 50;
// Of a layer that is dense because it was asked for: from this many rows on oneDNN is faster than kernels
// that read the weights once for a few rows, and nothing is measured.
constexpr int64_t kManyRowsOfDense = 9;

kernels::PrepareOptions prepare_options(const SparseLinearOptions& options) {
  kernels::PrepareOptions prepare;
  if (options.rounding == Rounding::kNone) prepare.isa &= ~uint32_t(kernels::isa::kAvx512Bf16);
  prepare.int8_inputs = options.int8_inputs && options.rounding != Rounding::kNone;
  prepare.use = options.second_layout ? kernels::Use::kAny : kernels::Use::kFewRows;
  return prepare;
}

void* tile_memory(size_t bytes) {
  thread_local std::vector<std::byte> memory;
  if (memory.size() < bytes + 64) memory.resize(bytes + 64);
  const uintptr_t misaligned = reinterpret_cast<uintptr_t>(memory.data()) % 64;
  return memory.data() + (misaligned != 0 ? 64 - misaligned : 0);
}

// Layers whose times are alike: format, type, shape to a power of two, and share of stored weights to a
// tenth.
std::string kind_of(const std::string& format, const PackedArrays& arrays,
                    const SparseLinearOptions& options) {
  const int64_t tenths = 10 * arrays.stored() / std::max<int64_t>(1, arrays.rows() * arrays.cols());
  return "dense_from " + format + " type " + std::to_string(int(arrays.type())) + " shape " +
         shape_kind(arrays.rows(), arrays.cols()) + " stored " + std::to_string(tenths) + "/10" +
         (options.second_layout ? " two layouts" : "") +
         (options.rounding == Rounding::kNone ? " as f32"
          : options.int8_inputs               ? " int8 inputs"
                                              : "");
}

// `kept`, with zeros in place, in the format that takes the fewest bytes.
template <class T>
PackedArrays pack_smallest(const Matrix<T>& kept, std::string& format) {
  PackedWeight base;
  base.dtype = std::is_same_v<T, float> ? DType::kF32 : DType::kBF16;
  base.out = kept.rows();
  base.in = kept.cols();
  const PackedWeight best = choose_format(base, profile<T>(view(kept)), {})->weight;
  format = format_in_words(best);
  return pack_dense(best, view(kept), [](const auto& packed) { return PackedArrays(packed); });
}

bool stays_at_most(int64_t percent, const PackedArrays& arrays) {
  return 100 * arrays.stored() <= percent * arrays.rows() * arrays.cols();
}

// Whether the kernel for many rows that reads the stored arrays is worth taking, and rounds inputs as the
// dense product of expanded tiles does. (Where that rounds, blocks of an odd width and lists of weights with
// scales of groups have kernels of floats only.)
bool gains_in_place(const PackedWeight& weight, const PackedArrays& arrays, Rounding rounding, uint32_t isa) {
  const bool is_blocks = weight.format == PackedFormat::kBsr, is_nm = weight.format == PackedFormat::kNm;
  const bool is_windows = weight.format == PackedFormat::kWindows, is_grouped = weight.scale_group != 0;
  if (rounding == Rounding::kBf16 && fits_bf16(arrays.type()) && has_bf16_products()) {
    if (!kernels::isa::runs_on(kernels::isa::kAvx512Bf16, isa)) return false;
    if (is_blocks) return weight.block.cols % 2 == 0;
    if (is_nm && weight.nm == NM{2, 4}) return true;
    const bool is_bitmask = weight.format == PackedFormat::kBitmask;
    if (is_grouped && !is_bitmask) return false;  // as lists
    if (is_nm) return true;
    return stays_at_most(kMostPercentUnstructured, arrays);
  }
  if (!kernels::isa::runs_on(kernels::isa::kAvx2, isa)) return false;
  if (is_blocks || is_nm) return true;
  return stays_at_most(is_windows || is_grouped ? kMostPercentUnstructured : kMostPercentUnstructuredOfFloats,
                       arrays);
}

std::vector<float> copy_bias(const float* bias, int64_t out) {
  return bias == nullptr ? std::vector<float>() : std::vector<float>(bias, bias + out);
}

}  // namespace

SparseLinear::SparseLinear(const PackedCheckpoint& checkpoint, const PackedWeight& weight, const float* bias,
                           const SparseLinearOptions& options)
    : out_(weight.out), in_(weight.in), rounding_(options.rounding), bias_(copy_bias(bias, weight.out)) {
  if (options.check_at_first_use) {
    unchecked_ = std::make_unique<Unchecked>(checkpoint, weight);
  } else {
    checkpoint.check(weight);
  }
  arrays_.emplace(checkpoint, weight);
  kernels::PrepareOptions prepare = prepare_options(options);
  prepare.in_place = true;
  SparseLinearOptions own = options;
  if (options.for_many_rows) {
    prepare.use = kernels::Use::kManyRowsInPlace;
    if (gains_in_place(weight, *arrays_, rounding_, prepare.isa)) plan_ = arrays_->prepare(prepare);
    own.dense_from = plan_.rows() == 0 ? 1 : kNever;
  } else if (options.dense_from.value_or(kNever) > 1) {
    plan_ = make_plan(prepare);
  }
  choose(own, kind_of(format_in_words(weight), *arrays_, options) + (is_in_place() ? " in place" : ""));
}

SparseLinear::SparseLinear(const ConstView<float>& weights, const Mask& mask, const float* bias,
                           const SparseLinearOptions& options)
    : out_(weights.rows()), in_(weights.cols()), rounding_(options.rounding), bias_(copy_bias(bias, out_)) {
  hold(weights, mask, options);
}

SparseLinear::SparseLinear(const ConstView<bf16>& weights, const Mask& mask, const float* bias,
                           const SparseLinearOptions& options)
    : out_(weights.rows()), in_(weights.cols()), rounding_(options.rounding), bias_(copy_bias(bias, out_)) {
  hold(weights, mask, options);
}

template <class T>
void SparseLinear::hold(const ConstView<T>& weights, const Mask& mask, const SparseLinearOptions& options) {
  if (mask.rows() != weights.rows() || mask.cols() != weights.cols())
    throw_usage("sparse layer: the mask has another shape than the weights");
  if (weights.size() == 0) throw_usage("sparse layer of no rows or columns");
  Matrix<T> kept = weights;
  apply(mask, kept);
  const auto bytes = std::as_bytes(std::span(kept.data(), static_cast<size_t>(kept.size())));
  dense_from_ = std::max<int64_t>(1, options.dense_from.value_or(1));
  if (dense_from_ < kNever) {
    constexpr DenseType kType = std::is_same_v<T, float> ? DenseType::kF32 : DenseType::kBf16;
    dense_weights_.assign(bytes.begin(), bytes.end());
    PlainLinearOptions plain{.rounding = rounding_, .dense_from = {}, .tuning = options.tuning};
    if (options.dense_from) plain.dense_from = kManyRowsOfDense;
    dense_.emplace(kType, dense_weights_.data(), out(), in(), bias_.empty() ? nullptr : bias_.data(), plain);
  }
  if (options.dense_from == 1) return;
  std::string format;
  const PackedArrays arrays = pack_smallest(kept, format);
  plan_ = arrays.prepare(prepare_options(options));
  if (options.dense_from) return;
  TuningTable& table = options.tuning != nullptr ? *options.tuning : TuningTable::of_user();
  const auto few = [&](const float* x, float* y, int64_t n) { plan_.run({x, in(), y, out(), n}); };
  const auto many = [&](const float* x, float* y, int64_t n) { dense_->forward(x, in(), y, out(), n); };
  dense_from_ = std::max<int64_t>(1, table.get(kind_of(format, arrays, options) + " in memory", [&] {
    return is_clearly_faster(out(), in(), 1, few, many) ? measure_crossover(out(), in(), few, many) : 1;
  }));
  if (dense_from_ == 1) plan_ = {};
  if (dense_from_ < kNever) return;
  dense_.reset();
  dense_weights_ = {};
}

kernels::Plan SparseLinear::make_plan(kernels::PrepareOptions options) const {
  if (unchecked_ != nullptr && options.use == kernels::Use::kFewRows) {
    kernels::PrepareOptions in_place = options;
    in_place.use = kernels::Use::kInPlace;
    kernels::Plan plan = arrays_->prepare(in_place);
    if (plan.rows() > 0) return plan;
  }
  check_first();
  return arrays_->prepare(options);
}

void SparseLinear::check_first() const {
  if (unchecked_ == nullptr || unchecked_->passed.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(unchecked_->mutex);
  if (unchecked_->passed.load(std::memory_order_relaxed)) return;
  unchecked_->checkpoint.check(unchecked_->weight);
  unchecked_->passed.store(true, std::memory_order_release);
}

void SparseLinear::choose(const SparseLinearOptions& options, const std::string& kind) {
  if (options.dense_from) {
    dense_from_ = std::max<int64_t>(1, *options.dense_from);
  } else {
    TuningTable& table = options.tuning != nullptr ? *options.tuning : TuningTable::of_user();
    dense_from_ = std::max<int64_t>(1, table.get(kind, [&] { return measure_dense_from(); }));
  }
  if (is_in_place()) return;
  arrays_->release_pages();  // what was read to lay out the weights
  if (dense_from_ == kNever) arrays_.reset();
}

int64_t SparseLinear::measure_dense_from() const {
  check_first();
  return measure_crossover(
      out(), in(),
      [&](const float* x, float* y, int64_t n) {
        plan_.run({x, in(), y, out(), n});
      },
      [&](const float* x, float* y, int64_t n) { forward_dense(x, in(), y, out(), n); });
}

void SparseLinear::forward(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const {
  check_first();  // of experts that no token reaches, too
  if (n <= 0) return;
  if (dense_ && n >= dense_from_) return dense_->forward(x, ldx, y, ldy, n);
  if (n >= dense_from_) return forward_dense(x, ldx, y, ldy, n);
  plan_.run({x, ldx, y, ldy, n, bias_.empty() ? nullptr : bias_.data()});
}

void SparseLinear::forward_dense(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const {
  const bool is_bf16 = arrays_->expanded_type() == kernels::WeightType::kBf16;
  // Floats that groups of int8 became are rounded as the weights of which they were made.
  const bool rounds = fits_bf16(arrays_->type()) && rounding_ == Rounding::kBf16 && has_bf16_products();
  const int64_t row_bytes = in() * (is_bf16 ? 2 : rounds ? 6 : 4), step = arrays_->row_step();
  const int64_t tile = std::min(out(), std::max<int64_t>(1, kTileBytes / row_bytes / step) * step);
  void* weights = tile_memory(static_cast<size_t>(tile * row_bytes));
  auto* halves = static_cast<uint16_t*>(weights);
  if (rounds && !is_bf16) halves += tile * in() * 2;
  const uint16_t* rounded = rounds ? round_rows_to_bf16(x, ldx, n, in()) : nullptr;
  for (int64_t first = 0; first < out(); first += tile) {
    const int64_t count = std::min(tile, out() - first);
    arrays_->expand(first, count, weights);
    const Gemm shape{.m = n, .n = count, .k = in(), .transpose_b = Transpose::kYes};
    if (rounds) {
      if (!is_bf16) round_rows_to_bf16(static_cast<const float*>(weights), in(), count, in(), halves);
      gemm_bf16(shape, rounded, in(), halves, in(), y + first, ldy);
    } else if (is_bf16) {
      multiply_widened(x, ldx, halves, count, in(), y + first, ldy, n);
    } else {
      gemm(shape, x, ldx, static_cast<const float*>(weights), in(), y + first, ldy);
    }
    finish_tile(first, count, y + first, ldy, n);
  }
  if (!is_in_place()) arrays_->release_pages();
}

// The scales and the bias, which plain products leave out, while the tile of Y is in the caches.
void SparseLinear::finish_tile(int64_t first, int64_t count, float* y, int64_t ldy, int64_t n) const {
  const float* scales = arrays_->row_scales() == nullptr ? nullptr : arrays_->row_scales() + first;
  const float* bias = bias_.empty() ? nullptr : bias_.data() + first;
  if (scales == nullptr && bias == nullptr) return;
#pragma omp parallel for if (n * count >= int64_t{1} << 16)
  for (int64_t i = 0; i < n; ++i) {
    float* row = y + i * ldy;
    if (scales != nullptr) std::transform(row, row + count, scales, row, std::multiplies<>());
    if (bias != nullptr) std::transform(row, row + count, bias, row, std::plus<>());
  }
}

size_t SparseLinear::bytes() const {
  return plan_.own_bytes() + (arrays_ ? arrays_->bytes() : 0) + dense_weights_.size() +
         bias_.size() * sizeof(float);
}

const char* SparseLinear::kernel_name(int64_t n) const {
  if (dense_ && n >= dense_from_) return dense_->kernel_name(n);
  return n >= dense_from_ ? "dense" : plan_.kernel_name(n);
}

}  // namespace prune
