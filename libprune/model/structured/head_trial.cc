#include "libprune/model/structured/head_trial.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace prune {
namespace {

constexpr int64_t kTrials = 16;  // of a layer, but two at least each time that a head goes

// All sets of `keep` of the first `count` numbers; none where there are more than `most`.
std::vector<Units> all_sets(int64_t count, int64_t keep, size_t most) {
  std::vector<bool> is_in(size_t(count), false);
  std::fill_n(is_in.begin(), keep, true);
  std::vector<Units> sets;
  do {
    if (sets.size() == most) return {};
    Units& set = sets.emplace_back();
    for (int64_t i = 0; i < count; ++i) {
      if (is_in[size_t(i)]) set.push_back(i);
    }
  } while (std::prev_permutation(is_in.begin(), is_in.end()));
  return sets;
}

std::vector<Units> sets_without_one(const Units& all) {
  std::vector<Units> sets;
  for (const int64_t unit : all) std::erase(sets.emplace_back(all), unit);
  return sets;
}

Units columns_of_groups(const Units& groups, int64_t width) {
  Units columns;
  for (const int64_t group : groups) {
    for (int64_t i = 0; i < width; ++i) columns.push_back(group * width + i);
  }
  return columns;
}

// The refitted projection, in the dense one's shape.
struct Candidate {
  Units kept;
  FloatMatrix weight;
  std::vector<float> bias;
  double error = 0;
};

class HeadTrial {
 public:
  HeadTrial(TextTrial& trial, DecoderLayer& layer, const FloatMatrix& hidden, std::span<const int64_t> later,
            const ProjectionMoments& moments, const ProjectionTask& task)
      : trial_(trial), layer_(layer), hidden_(hidden), later_(later), moments_(moments), task_(task) {
    contexts_.resize(hidden.rows(), layer.output.in);
    trial_.for_each_batch([&](int64_t row, const Sequences& sequences) {
      forward_qkv(layer_, trial_.rope(), sequences, hidden_.row(row), activations_, {});
      forward_attention(layer_, sequences, hidden_.row(row), activations_, {});
      std::copy_n(activations_.context.data(), activations_.context.size(), contexts_.row(row));
    });
  }

  Units best_of(const std::vector<Units>& sets, size_t trials) {
    std::vector<Candidate> candidates;
    candidates.reserve(sets.size());
    for (const Units& kept : sets) candidates.push_back(with(kept));
    std::ranges::stable_sort(candidates, {}, &Candidate::error);
    candidates.resize(std::min(candidates.size(), trials));
    Units best = candidates.front().kept;
    double least = std::numeric_limits<double>::infinity();
    for (Candidate& candidate : candidates) {
      const double loss = loss_with(candidate);
      if (loss < least) best = candidate.kept;
      least = std::min(least, loss);
    }
    return best;
  }

 private:
  Candidate with(const Units& kept) const {
    const Units columns = columns_of_groups(kept, task_.group);
    const Linear& dense = layer_.output;
    Linear left;
    left.out = dense.out;
    left.in = dense.in;
    left.weight = dense.weight;
    left.bias = dense.bias;
    refit(left, moments_, columns, task_);
    const double error = projection_error(dense, left, columns, moments_);
    Candidate candidate{kept, FloatMatrix(dense.out, dense.in), std::move(left.bias), error};
    View<float> weight = view(candidate.weight.data(), dense.out, dense.in);
    weight.setZero();
    for (size_t j = 0; j < columns.size(); ++j)
      weight.col(columns[j]) = view(left.weight.data(), left.out, left.in).col(Index(j));
    return candidate;
  }

  double loss_with(Candidate& candidate) {
    swap_output(candidate);
    FloatMatrix state(hidden_.rows(), hidden_.cols());
    trial_.for_each_batch([&](int64_t row, const Sequences& sequences) {
      activations_.context.resize(sequences.tokens(), contexts_.cols());
      std::copy_n(contexts_.row(row), activations_.context.size(), activations_.context.data());
      forward_attention_output(layer_, hidden_.row(row), activations_, {});
      forward_feed_forward(layer_, activations_, state.row(row), {});
    });
    swap_output(candidate);
    return trial_.loss_after(later_, state);
  }

  void swap_output(Candidate& candidate) {
    std::swap(layer_.output.weight, candidate.weight);
    std::swap(layer_.output.bias, candidate.bias);
  }

  TextTrial& trial_;
  DecoderLayer& layer_;
  const FloatMatrix& hidden_;
  std::span<const int64_t> later_;
  const ProjectionMoments& moments_;
  const ProjectionTask& task_;
  FloatMatrix contexts_;  // [tokens, inputs of the output projection]
  LayerActivations activations_;
};

}  // namespace

Units choose_heads_by_trial(TextTrial& trial, DecoderLayer& layer, const FloatMatrix& hidden,
                            std::span<const int64_t> later, const ProjectionMoments& moments,
                            const ProjectionTask& task) {
  HeadTrial heads(trial, layer, hidden, later, moments, task);
  Units kept(size_t(layer.output.in / task.group));
  std::iota(kept.begin(), kept.end(), int64_t(0));
  if (const auto sets = all_sets(int64_t(kept.size()), task.keep, kTrials); !sets.empty())
    return heads.best_of(sets, sets.size());
  const auto trials = size_t(std::max<int64_t>(2, kTrials / (int64_t(kept.size()) - task.keep)));
  while (int64_t(kept.size()) > task.keep) kept = heads.best_of(sets_without_one(kept), trials);
  return kept;
}

}  // namespace prune
