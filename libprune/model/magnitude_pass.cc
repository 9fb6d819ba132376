#include "libprune/model/magnitude_pass.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include <prune/prune.h>

#include "libprune/model/checkpoint_rewrite.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/parallel.h"
#include "libprune/model/select24.h"
#include "libprune/model/tensor_error.h"
#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

constexpr size_t kWriteChunk = size_t(4) << 20;  // bytes gathered before they are written

template <class T>
WeightMatrix<T> load(const Checkpoint& checkpoint, const PlannedTensor& planned) {
  const TensorInfo& tensor = checkpoint.tensor(planned.ref);
  return WeightMatrix<T>(checkpoint.data(planned.ref), tensor.shape[0], tensor.shape[1], planned.orientation);
}

template <class T>
int64_t count_zeros(const T* values, Index n) {
  int64_t zeros = 0;
  for (Index j = 0; j < n; ++j) zeros += is_zero(values[j]);
  return zeros;
}

// Sends mask * weights to the sink, a few rows at a time, and counts zeros on the way.
template <class T>
void write_masked(ConstView<T> weights, const Mask& mask, TensorSink& sink, TensorReport& report) {
  const Index rows_per_chunk =
      std::max<Index>(1, Index(kWriteChunk / sizeof(T)) / std::max<Index>(1, weights.cols()));
  Matrix<T> chunk(std::min(rows_per_chunk, weights.rows()), weights.cols());
  for (Index top = 0; top < weights.rows(); top += rows_per_chunk) {
    const Index rows = std::min(rows_per_chunk, weights.rows() - top);
    for (Index r = 0; r < rows; ++r) {
      const T* from = weights.data() + (top + r) * weights.outerStride();
      T* to = chunk.data() + r * chunk.cols();
      detail::apply_row<std::make_unsigned_t<KeyOf<T>>>(from, mask.row(top + r).data(), weights.cols(), to);
      report.zeros_before += count_zeros(from, weights.cols());
      report.zeros_after += count_zeros(to, weights.cols());
    }
    sink.append(std::as_bytes(std::span(chunk.data(), size_t(rows * chunk.cols()))));
  }
}

// The same for a weight stored [in, out]: turned back into the file's orientation in one piece.
template <class T>
void write_masked_transposed(ConstView<T> weights, const Mask& mask, TensorSink& sink, TensorReport& report) {
  Matrix<T> pruned(weights.rows(), weights.cols());
  apply(mask, weights, pruned);
  const Matrix<T> turned = pruned.transpose();
  for (Index i = 0; i < weights.rows(); ++i) {
    report.zeros_before += count_zeros(weights.data() + i * weights.outerStride(), weights.cols());
  }
  report.zeros_after += count_zeros(turned.data(), turned.size());
  sink.append(std::as_bytes(std::span(turned.data(), size_t(turned.size()))));
}

// Scope::kGlobal: one threshold for the whole model. Candidates of different types (or blocks) compare as
// double, which holds every type's values and the sums that score blocks exactly as the per-layer scope sees
// them.

class GlobalScores {
 public:
  using Key = KeyOf<double>;
  GlobalScores(const Checkpoint& checkpoint, const PrunePlan& plan) : checkpoint_(checkpoint), plan_(plan) {
    for (const PlannedTensor& planned : plan.tensors) {
      if (planned.prune) tensors_.push_back(&planned);
    }
  }

  // Finds the threshold and deals its ties out to the tensors in the order of the plan.
  void find_thresholds() {
    const int64_t keep = kept_count(candidates(), plan_.sparsity);
    if (keep == 0) return;
    ThresholdSearch<Key> search(keep);
    do {
      std::mutex mutex;
      for_each_tensor([&](size_t, const PlannedTensor& planned) {
        ThresholdSearch<Key> part = search;
        part.forget_counts();
        visit_rows(planned, [&](const Key* keys, Index n) { part.count(keys, n); });
        const std::lock_guard lock(mutex);
        search.merge(part);
      });
    } while (search.next_pass());
    deal_ties(search.result());
  }

  template <class T>
  Mask mask(const PlannedTensor& planned, ConstView<T> weights) const {
    const Block* block = std::get_if<Block>(&plan_.options.pattern);
    Mask chosen =
        block ? Mask(planned.out / block->rows, planned.in / block->cols) : Mask(planned.out, planned.in);
    const auto found = thresholds_.find(&planned);
    if (found != thresholds_.end()) {
      Threshold<Key> threshold = found->second;
      Index row = 0;
      visit_rows_of<T>(weights, [&](const Key* keys, Index n) {
        detail::select_above(keys, n, threshold, chosen.row(row++).data());
      });
    }
    return block ? detail::expand_blocks(chosen, *block) : chosen;
  }

 private:
  int64_t candidates() const {
    const Block* block = std::get_if<Block>(&plan_.options.pattern);
    return block ? plan_.weights() / (int64_t(block->rows) * block->cols) : plan_.weights();
  }

  template <class Body>
  void for_each_tensor(Body&& body) const {
    const auto bytes = [&](size_t i) {
      const PlannedTensor& planned = *tensors_[i];
      return copied_bytes(checkpoint_.data(planned.ref), checkpoint_.tensor(planned.ref).dtype,
                          planned.orientation) +
             scoring_bytes(plan_.options.pattern, planned.out * planned.in);
    };
    parallel_for(tensors_.size(), plan_.options.threads, bytes, [&](size_t i) {
      check_interrupted();
      body(i, *tensors_[i]);
    });
  }

  void deal_ties(Threshold<Key> threshold) {
    std::vector<int64_t> equal(tensors_.size());
    for_each_tensor([&](size_t i, const PlannedTensor& planned) {
      visit_rows(planned,
                 [&](const Key* keys, Index n) { equal[i] += std::count(keys, keys + n, threshold.key); });
    });
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const int64_t ties = std::min(equal[i], threshold.ties);
      thresholds_[tensors_[i]] = {threshold.key, ties};
      threshold.ties -= ties;
    }
  }

  // Calls body(keys, n) for each row of candidates of a tensor.
  template <class Body>
  void visit_rows(const PlannedTensor& planned, Body&& body) const {
    visit_dtype(checkpoint_.tensor(planned.ref).dtype, [&]<class T>() {
      const WeightMatrix<T> weights = load<T>(checkpoint_, planned);
      with_place_in_errors(checkpoint_.shards()[planned.ref.shard], checkpoint_.tensor(planned.ref),
                           planned.orientation, [&] { visit_rows_of<T>(weights.view(), body); });
    });
  }

  template <class T, class Body>
  void visit_rows_of(ConstView<T> weights, Body&& body) const {
    if (const Block* block = std::get_if<Block>(&plan_.options.pattern)) {
      visit_scores(score::block_magnitude(weights, *block, plan_.options.block_norm).values, body);
      return;
    }
    const detail::MagnitudeKeys<T> source(weights);
    std::vector<KeyOf<T>> narrow(size_t(weights.cols()));
    std::vector<Key> keys(narrow.size());
    for (Index i = 0; i < weights.rows(); ++i) {
      source.keys(i, narrow.data());  // refuses NaN
      for (Index j = 0; j < weights.cols(); ++j) {
        keys[size_t(j)] = magnitude_key(as_double(weights.data()[i * weights.outerStride() + j]));
      }
      body(keys.data(), weights.cols());
    }
  }

  template <class Body>
  static void visit_scores(const Matrix<double>& scores, Body&& body) {
    std::vector<Key> keys(size_t(scores.cols()));
    for (Index i = 0; i < scores.rows(); ++i) {
      for (Index j = 0; j < scores.cols(); ++j) keys[size_t(j)] = order_key(scores(i, j));
      body(keys.data(), scores.cols());
    }
  }

  const Checkpoint& checkpoint_;
  const PrunePlan& plan_;
  std::vector<const PlannedTensor*> tensors_;
  std::map<const PlannedTensor*, Threshold<Key>> thresholds_;
};

bool needs_global_threshold(const PrunePlan& plan) {
  return plan.options.scope == Scope::kGlobal && !std::holds_alternative<NM>(plan.options.pattern);
}

// The rewriter of one tensor.
class MagnitudePruner {
 public:
  MagnitudePruner(const Checkpoint& checkpoint, const PrunePlan& plan)
      : checkpoint_(checkpoint), plan_(plan) {}

  void prepare() {
    if (!needs_global_threshold(plan_)) return;
    global_.emplace(checkpoint_, plan_);
    global_->find_thresholds();
  }

  TensorReport operator()(const PlannedTensor& planned, TensorSink& sink) const {
    return visit_dtype(checkpoint_.tensor(planned.ref).dtype,
                       [&]<class T>() { return prune<T>(planned, sink); });
  }

 private:
  template <class T>
  TensorReport prune(const PlannedTensor& planned, TensorSink& sink) const {
    const auto start = std::chrono::steady_clock::now();
    TensorReport report = describe_tensor(checkpoint_, planned);
    const WeightMatrix<T> weights = load<T>(checkpoint_, planned);
    const Mask mask = choose<T>(planned, weights.view());
    report.seconds = seconds_since(start);
    planned.orientation == Orientation::kInOut
        ? write_masked_transposed<T>(weights.view(), mask, sink, report)
        : write_masked<T>(weights.view(), mask, sink, report);
    return report;
  }

  template <class T>
  Mask choose(const PlannedTensor& planned, ConstView<T> weights) const {
    if (global_) return global_->mask<T>(planned, weights);
    const PruneOptions& options = plan_.options;
    if (options.pattern == Pattern(NM{2, 4})) return select24_magnitude(weights);
    return select_magnitude(weights, options.pattern, plan_.sparsity, options.scope, options.block_norm);
  }

  const Checkpoint& checkpoint_;
  const PrunePlan& plan_;
  std::optional<GlobalScores> global_;
};

}  // namespace

PruneReport prune_by_magnitude(const Checkpoint& checkpoint, const PrunePlan& plan,
                               const std::filesystem::path& output, StagingOptions options,
                               const Progress& progress) {
  MagnitudePruner pruner(checkpoint, plan);
  const TensorRewriter rewriter{
      [&] { pruner.prepare(); },
      [&](const PlannedTensor& planned, TensorSink& sink) { return pruner(planned, sink); }};
  return rewrite_checkpoint(checkpoint, plan, output, std::move(options), rewriter, progress);
}

}  // namespace prune
