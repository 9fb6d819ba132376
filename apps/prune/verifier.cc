#include "apps/prune/verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <utility>

#include <prune/score/blocks.h>

#include "libprune/io/mapped_file.h"
#include "libprune/io/staging.h"
#include "libprune/model/parallel.h"
#include "libprune/model/quantized_values.h"
#include "libprune/model/tensor_visit.h"
#include "libprune/model/weight_selection.h"

namespace prune::app {
namespace {

// Mismatches from several threads.
class Findings {
 public:
  void add(std::string finding) {
    const std::lock_guard lock(mutex_);
    findings_.push_back(std::move(finding));
  }
  std::vector<std::string> sorted() {
    std::ranges::sort(findings_);
    return findings_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> findings_;
};

// One tensor as the dense model has it.
struct DenseTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  size_t shard = 0;
  const TensorInfo* stored = nullptr;    // as it is
  const PackedWeight* packed = nullptr;  // or packed
};

std::vector<DenseTensor> dense_tensors(const Model& model) {
  std::vector<DenseTensor> tensors;
  for (size_t shard = 0; shard < model.checkpoint.shards().size(); ++shard) {
    for (const TensorInfo& tensor : model.checkpoint.shards()[shard].tensors()) {
      if (model.packed && model.packed->owner(tensor.name)) continue;
      tensors.push_back({tensor.name, tensor.dtype, tensor.shape, shard, &tensor, nullptr});
    }
  }
  if (model.packed) {
    for (const PackedWeight& w : model.packed->weights()) {
      tensors.push_back({w.tensor, w.dtype, w.dense_shape(), w.shard, nullptr, &w});
    }
  }
  return tensors;
}

// The most that having a tensor as a matrix takes.
size_t loading_bytes(const Model& model, const DenseTensor& tensor, Orientation orientation) {
  if (tensor.packed) return model.packed->unpacking_bytes(*tensor.packed);
  return copied_bytes(model.checkpoint.shards()[tensor.shard].data(*tensor.stored), tensor.dtype,
                      orientation);
}

// The matrix of a tensor, wherever it comes from: as it lies in the dense file (kOutIn), or turned (kInOut).
template <class T>
class LoadedWeight {
 public:
  LoadedWeight(const Model& model, const DenseTensor& tensor, Orientation orientation) {
    if (tensor.packed) {
      unpacked_ = model.packed->unpack<T>(*tensor.packed);
      if (tensor.packed->orientation != orientation) unpacked_ = Matrix<T>(unpacked_.transpose());
    } else {
      mapped_.emplace(model.checkpoint.shards()[tensor.shard].data(*tensor.stored), tensor.shape[0],
                      tensor.shape[1], orientation);
    }
  }
  ConstView<T> view() const { return mapped_ ? mapped_->view() : prune::view(unpacked_); }

 private:
  Matrix<T> unpacked_;
  std::optional<WeightMatrix<T>> mapped_;
};

class Verifier {
 public:
  Verifier(const Model& model, const Model* original, const Promise& promise)
      : model_(model),
        original_(original),
        promise_(promise),
        selection_(model.checkpoint, promise.include, promise.exclude) {
    if (original_) {
      for (const DenseTensor& tensor : dense_tensors(*original_)) originals_.emplace(tensor.name, tensor);
    }
  }

  void run(int threads, const Progress& progress) {
    const std::vector<DenseTensor> tensors = dense_tensors(model_);
    check_names(tensors);
    ProgressCounter counter(progress, model_.checkpoint.tensor_bytes());
    const auto bytes = [&](size_t i) { return working_bytes(tensors[i]); };
    parallel_for(tensors.size(), threads, bytes, [&](size_t i) {
      check_interrupted();
      check(tensors[i]);
      counter.add(
          tensors[i].packed ? model_.packed->bytes(*tensors[i].packed) : tensors[i].stored->size_bytes(),
          tensors[i].name);
    });
    if (original_) check_other_files();
  }

  Verdict verdict() {
    if (promise_.sparsity) require_sparsity(*promise_.sparsity);
    return {findings_.sorted(), matrices_, weights_, zeros_};
  }

 private:
  void require_sparsity(double sparsity) {
    const int64_t wanted = promise_.scope == Scope::kGlobal
                               ? unit_weights() * promised(candidates_.load(), sparsity)
                               : promised_.load();
    const int64_t found = block() ? zero_block_weights_.load() : zeros_.load();
    if (found < wanted) {
      findings_.add(fmt::format("{} of {} linear weights are zero{}, {} fewer than sparsity {} promises",
                                found, weights_.load(), block() ? " in blocks that are all zero" : "",
                                wanted - found, sparsity));
    }
  }

  // Candidates that pruning n of them with this sparsity removes.
  static int64_t promised(int64_t n, double sparsity) { return n - kept_count(n, sparsity); }
  const Block* block() const { return promise_.pattern ? std::get_if<Block>(&*promise_.pattern) : nullptr; }
  int64_t unit_weights() const { return block() ? int64_t(block()->rows) * block()->cols : 1; }

  // Adds a matrix to what the sparsity promises of all, each row or matrix rounded down as in pruning.
  void add_promise(Index rows, Index cols) {
    if (!promise_.sparsity) return;
    if (block()) {
      rows /= block()->rows;
      cols /= block()->cols;
    }
    candidates_ += rows * cols;
    const int64_t removed = promise_.scope == Scope::kRow ? rows * promised(cols, *promise_.sparsity)
                                                          : promised(rows * cols, *promise_.sparsity);
    promised_ += unit_weights() * removed;
  }

  // What pruning would do with the tensor, however it is stored.
  WeightSelection::Choice choose(const DenseTensor& tensor) const {
    TensorInfo info;
    info.name = tensor.name;
    info.dtype = tensor.dtype;
    info.shape = tensor.shape;
    WeightSelection::Choice choice = selection_.choose(info);
    if (choice.chosen && promise_.skip_unfit && promise_.pattern) {
      const bool turned = choice.orientation == Orientation::kInOut;
      if (misfit(*promise_.pattern, info.shape[turned ? 1 : 0], info.shape[turned ? 0 : 1]))
        choice.chosen = false;
    }
    return choice;
  }

  void check_names(const std::vector<DenseTensor>& tensors) {
    if (!original_) return;
    for (const DenseTensor& tensor : tensors) {
      const auto found = originals_.find(tensor.name);
      if (found == originals_.end()) {
        findings_.add("'" + tensor.name + "' is not in the original");
      } else if (found->second.dtype != tensor.dtype || found->second.shape != tensor.shape) {
        findings_.add("'" + tensor.name + "' has another type or shape than the original");
      }
    }
    std::set<std::string_view> names;
    for (const DenseTensor& tensor : tensors) names.insert(tensor.name);
    for (const auto& [name, tensor] : originals_) {
      if (!names.contains(name)) findings_.add("'" + name + "' of the original is missing");
    }
  }

  size_t working_bytes(const DenseTensor& tensor) const {
    const WeightSelection::Choice choice = choose(tensor);
    const Orientation orientation = choice.orientation;
    const auto original = originals_.find(tensor.name);
    const size_t scores = choice.chosen && promise_.pattern
                              ? scoring_bytes(*promise_.pattern, tensor.shape[0] * tensor.shape[1])
                              : 0;
    return scores + loading_bytes(model_, tensor, orientation) +
           (original == originals_.end() ? 0 : loading_bytes(*original_, original->second, orientation));
  }

  void check(const DenseTensor& tensor) {
    const DenseTensor* original = nullptr;
    if (const auto found = originals_.find(tensor.name); found != originals_.end()) {
      if (found->second.dtype != tensor.dtype || found->second.shape != tensor.shape) return;  // told already
      original = &found->second;
    }
    if (const auto choice = choose(tensor); choice.chosen) {
      if (tensor.packed && tensor.packed->orientation != choice.orientation)
        findings_.add("'" + tensor.name + "' is packed in another order than its model's weights have");
      visit_dtype(tensor.dtype, [&]<class T>() { check_weight<T>(tensor, original, choice.orientation); });
    } else {
      if (tensor.packed) model_.packed->check(*tensor.packed);
      if (original && !is_equal(tensor, *original))
        findings_.add("'" + tensor.name + "' differs from the original");
    }
    if (tensor.stored) {
      const SafetensorsFile& shard = model_.checkpoint.shards()[tensor.shard];
      shard.map().done_with(shard.data_start() + tensor.stored->begin, tensor.stored->size_bytes());
    }
  }

  bool is_equal(const DenseTensor& tensor, const DenseTensor& original) const {
    if (tensor.stored && original.stored) {
      return std::ranges::equal(model_.checkpoint.shards()[tensor.shard].data(*tensor.stored),
                                original_->checkpoint.shards()[original.shard].data(*original.stored));
    }
    return visit_dtype(tensor.dtype, [&]<class T>() {
      const LoadedWeight<T> values(model_, tensor, Orientation::kOutIn);
      const LoadedWeight<T> originals(*original_, original, Orientation::kOutIn);
      return std::ranges::equal(bytes_of(values.view()), bytes_of(originals.view()));
    });
  }

  template <class T>
  static std::span<const std::byte> bytes_of(ConstView<T> contiguous) {
    return std::as_bytes(std::span(contiguous.data(), size_t(contiguous.size())));
  }

  template <class T>
  void check_weight(const DenseTensor& tensor, const DenseTensor* original, Orientation orientation) {
    const LoadedWeight<T> loaded(model_, tensor, orientation);
    const ConstView<T> weights = loaded.view();
    ++matrices_;
    weights_ += weights.size();
    add_promise(weights.rows(), weights.cols());
    check_values<T>(tensor, weights);
    if (promise_.pattern) check_pattern<T>(tensor, weights);
    if (original && !promise_.updated) {
      const LoadedWeight<T> other(*original_, *original, orientation);
      if (tensor.packed && tensor.packed->values == StoredValues::kInt8) {
        check_rounded<T>(tensor, weights, other.view());
      } else {
        check_kept<T>(tensor, weights, other.view());
      }
    }
  }

  template <class T>
  void check_values(const DenseTensor& tensor, ConstView<T> weights) {
    int64_t zeros = 0;
    for (Index i = 0; i < weights.rows(); ++i) {
      for (Index j = 0; j < weights.cols(); ++j) {
        const T& w = weights.data()[i * weights.outerStride() + j];
        zeros += is_zero(w);
        if (is_nan(w)) {
          findings_.add(fmt::format("'{}': NaN at row {}, column {}", tensor.name, i, j));
          i = weights.rows() - 1;
          break;
        }
      }
    }
    zeros_ += zeros;
  }

  template <class T>
  void check_pattern(const DenseTensor& tensor, ConstView<T> weights) {
    if (const auto reason = misfit(*promise_.pattern, weights.rows(), weights.cols())) {
      findings_.add(fmt::format("'{}': {}", tensor.name, *reason));
    } else if (block()) {
      count_zero_blocks<T>(weights);
    } else if (std::holds_alternative<NM>(*promise_.pattern) &&
               !satisfies(nonzero_mask(weights), *promise_.pattern)) {
      findings_.add(fmt::format("'{}' breaks pattern {} at {}", tensor.name, to_string(*promise_.pattern),
                                first_break<T>(weights)));
    }
  }

  template <class T>
  void count_zero_blocks(ConstView<T> weights) {
    const Matrix<double> nonzero =
        score::block_sum(weights, *block(), [](const T& w) { return is_zero(w) ? 0.0 : 1.0; }).values;
    zero_block_weights_ += unit_weights() * std::count(nonzero.data(), nonzero.data() + nonzero.size(), 0.0);
  }

  template <class T>
  std::string first_break(ConstView<T> weights) const {
    const NM nm = std::get<NM>(*promise_.pattern);
    const Mask kept = nonzero_mask(weights);
    for (Index i = 0; i < kept.rows(); ++i) {
      for (Index j = 0; j < kept.cols(); j += nm.group) {
        const Index count = kept.count_in_row(i, j, j + nm.group);
        if (count > nm.keep)
          return fmt::format("row {}, columns {} to {}: {} weights are not zero", i, j, j + nm.group - 1,
                             count);
      }
    }
    return "";
  }

  // A scale is that of the largest original weight that stayed, which no rounding makes 0.
  template <class T>
  void check_scales(const DenseTensor& tensor, ConstView<T> weights, ConstView<T> original,
                    const ScaleGrid& scales) {
    const Index width = scales.group == 0 ? weights.cols() : scales.group;
    for (Index i = 0; i < weights.rows(); ++i) {
      for (Index first = 0; first < weights.cols(); first += width) {
        float largest = 0;
        for (Index j = first; j < std::min(first + width, weights.cols()); ++j) {
          if (float(weights.data()[i * weights.outerStride() + j]) != 0)
            largest = std::max(largest, std::abs(float(original.data()[i * original.outerStride() + j])));
        }
        const float scale = scales.at(i, first), wanted = largest / kLargestInt8;
        if (std::abs(scale - wanted) <= wanted * 1e-5F) continue;
        findings_.add(
            fmt::format("'{}': row {}, columns from {}: scale {}, but the weights that stayed need {}",
                        tensor.name, i, first, scale, wanted));
        return;
      }
    }
  }

  // Every weight is zero, or the original's to half a step of int8 and the rounding of its own type; where
  // it makes up for the rounding of others, no more is known than that it was not zero.
  template <class T>
  void check_rounded(const DenseTensor& tensor, ConstView<T> weights, ConstView<T> original) {
    const ScaleGrid scales = model_.packed->scales(*tensor.packed);
    check_scales(tensor, weights, original, scales);
    constexpr float kTypeRounding =
        1.0F / 128;  // bf16, twice over; other types round less, or float8 as it may
    for (Index i = 0; i < weights.rows(); ++i) {
      for (Index j = 0; j < weights.cols(); ++j) {
        const float value = float(weights.data()[i * weights.outerStride() + j]);
        const float wanted = float(original.data()[i * original.outerStride() + j]);
        const float bound = scales.at(i, j) * 0.501F + std::abs(wanted) * kTypeRounding;
        const bool made_up = tensor.packed->rounding == ValueRounding::kCalibrated && wanted != 0;
        if (value == 0 || made_up || std::abs(value - wanted) <= bound) continue;
        findings_.add(fmt::format(
            "'{}': row {}, column {} is neither zero nor the original's rounded to int8", tensor.name, i, j));
        return;
      }
    }
  }

  // What is left of a weight whose values are packed in another type.
  template <class T>
  static T stored_as(const DenseTensor& tensor, const T& weight) {
    if constexpr (sizeof(T) > 1) {
      const StoredValues values = tensor.packed ? tensor.packed->values : StoredValues::kPlain;
      if (values == StoredValues::kBf16) return T(float(bf16(float(weight))));
      if (values == StoredValues::kF16) return T(float(f16(float(weight))));
    }
    return weight;
  }

  // Every weight is the original's bit for bit but for that, or +0.
  template <class T>
  void check_kept(const DenseTensor& tensor, ConstView<T> weights, ConstView<T> original) {
    for (Index i = 0; i < weights.rows(); ++i) {
      for (Index j = 0; j < weights.cols(); ++j) {
        const auto bits = bit_pattern(weights.data()[i * weights.outerStride() + j]);
        const T& wanted = original.data()[i * original.outerStride() + j];
        if (bits == 0 || bits == bit_pattern(stored_as(tensor, wanted))) continue;
        findings_.add(
            fmt::format("'{}': row {}, column {} is neither zero nor the original's (methods that change the "
                        "weights that stay: --updated)",
                        tensor.name, i, j));
        return;
      }
    }
  }

  void check_other_files() {
    if (model_.checkpoint.is_single_file() || original_->checkpoint.is_single_file()) return;
    const auto files = model_.checkpoint.other_files();
    const auto originals = original_->checkpoint.other_files();
    for (const std::filesystem::path& file : files) {
      // Packing writes the index anew, and opening a folder has held it against the shards.
      if (file != kIndexFile && !std::ranges::binary_search(originals, file))
        findings_.add("file '" + file.string() + "' is not in the original");
    }
    for (const std::filesystem::path& file : originals) {
      check_interrupted();
      if (file == kIndexFile) continue;
      if (!std::ranges::binary_search(files, file)) {
        findings_.add("file '" + file.string() + "' of the original is missing");
      } else if (!std::ranges::equal(MappedFile(model_.checkpoint.path() / file).bytes(),
                                     MappedFile(original_->checkpoint.path() / file).bytes())) {
        findings_.add("file '" + file.string() + "' differs from the original's");
      }
    }
  }

  const Model& model_;
  const Model* original_;
  const Promise& promise_;
  WeightSelection selection_;
  std::unordered_map<std::string, DenseTensor> originals_;
  Findings findings_;
  std::atomic<int64_t> weights_ = 0;
  std::atomic<int64_t> zeros_ = 0;
  std::atomic<int64_t> matrices_ = 0;
  std::atomic<int64_t> candidates_ = 0;  // weights, or blocks
  std::atomic<int64_t> promised_ = 0;    // weights that the sparsity removes, summed over matrices
  std::atomic<int64_t> zero_block_weights_ = 0;
};

}  // namespace

Verdict verify(const Model& model, const Model* original, const Promise& promise, int threads,
               const Progress& progress) {
  Verifier verifier(model, original, promise);
  verifier.run(threads, progress);
  return verifier.verdict();
}

}  // namespace prune::app
