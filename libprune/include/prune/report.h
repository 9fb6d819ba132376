// What a pruning pass did, tensor by tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace prune {

struct TensorReport {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;  // as in the file
  bool transposed = false;     // stored [in, out]; the pattern runs down the columns of the file
  bool pruned = false;         // false: copied as it is, `reason` says why
  std::string reason;
  int64_t zeros_before = 0;  // counted in pruned tensors
  int64_t zeros_after = 0;
  double seconds = 0;  // selecting and applying, without writing
  // Of calibrated methods: the relative squared error of the layer's outputs on its inputs with the pruned
  // weights gone, and after the others were changed.
  std::optional<double> error_before = {};
  std::optional<double> error_after = {};
  std::optional<double> wanted_sparsity = {};  // of calibrated methods, which may share it out
  double damping = 0;                          // of the Gram matrix, a share of its mean diagonal; 0: none
  int damping_retries = 0;                     // with ten times the damping each
  std::string note = {};                       // what is unusual about this tensor

  int64_t numel() const {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
  }
};

// What one step of training saw.
struct TrainingStep {
  int64_t step = 0;  // from 1
  double loss = 0;   // what was minimised
  double cross_entropy = 0;
  double divergence = 0;  // of the teacher's tokens
  double hidden_loss = 0;
  double penalty = 0;        // of soft masks
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
  double sparsity = 0;  // share of the linear weights that were 0 in the forward pass
};

struct TrainingReport {
  std::vector<TrainingStep> steps;  // of this run; a resumed one begins later
  int64_t tokens = 0;
  double seconds = 0;
  double waiting = 0;  // seconds of these for data

  double tokens_per_second() const { return seconds > 0 ? double(tokens) / seconds : 0; }
};

struct PruneReport {
  std::string model;
  std::string output;
  std::string method;
  std::string pattern;
  double sparsity = 0;  // asked for
  std::string scope;
  std::vector<TensorReport> tensors;
  std::optional<TrainingReport> training = {};  // of methods that train
  double seconds = 0;                           // whole pass, writing and syncing counted
  int64_t bytes_written = 0;

  int64_t pruned_weights() const {
    return sum([](const TensorReport& t) { return t.numel(); });
  }
  int64_t zeros_after() const {
    return sum([](const TensorReport& t) { return t.zeros_after; });
  }
  // Achieved share of zeros among the weights of pruned tensors.
  double achieved_sparsity() const {
    const int64_t weights = pruned_weights();
    return weights == 0 ? 0.0 : double(zeros_after()) / double(weights);
  }

 private:
  template <class F>
  int64_t sum(F value) const {
    int64_t total = 0;
    for (const TensorReport& t : tensors) total += t.pruned ? value(t) : 0;
    return total;
  }
};

}  // namespace prune
