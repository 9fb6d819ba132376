// The calibrated pass over the layers of a decoder.
//
// Two streams of hidden states run through the layers: the pruned one, which sees pruned layers, and where
// the method follows the dense model, the dense one, which does not. Of every decoder layer
//   1. both streams pass the dense layer, which gives the moments of the inputs X of its linear layers,
//   2. each linear layer is pruned,
//   3. where the method reconstructs, the layer is trained: from the pruned stream to a target half way
//      between what the dense layer makes of both streams (LayerMethod::follows_dense),
//   4. the pruned stream passes the pruned layer.
// With true_sequential, 1 and 2 are repeated for q, k, v, then the output of attention, then the expanding
// and the contracting half of the feed-forward layer, so that each sees what those before it became.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <prune/report.h>

#include "libprune/io/scratch.h"
#include "libprune/model/calibrated/calibration_text.h"
#include "libprune/model/calibrated/input_moments.h"
#include "libprune/model/calibrated/layer_method.h"
#include "libprune/model/calibrated/matrix_pruner.h"
#include "libprune/model/decoder/decoder.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/progress.h"
#include "libprune/model/prune_plan.h"

namespace prune {

struct PrunedTensor {
  std::span<std::byte> bytes;  // as the file will hold them
  TensorReport report;
  ScaleGrid scales = {};  // of a method that rounds
};

class CalibratedPruner {
 public:
  // Throws Error(kInput) where the architecture is not supported, the text does not do, or the plan prunes a
  // tensor that is no linear layer of a decoder layer. Pruned weights wait in a temporary file in `folder`,
  // with hidden states beyond the plan's memory.
  CalibratedPruner(const Checkpoint& checkpoint, const PrunePlan& plan, std::filesystem::path folder);
  // With another method than the plan names, and what its tasks have as scale_group.
  CalibratedPruner(const Checkpoint& checkpoint, const PrunePlan& plan, const LayerMethod& method,
                   Index scale_group, std::filesystem::path folder);

  // Prunes every tensor of the plan. Throws Error(kInput) naming the layer for inputs that are not finite.
  void run(const Progress& progress);
  // What became of a tensor of the plan.
  const PrunedTensor& pruned(const std::string& tensor) const { return pruned_.at(tensor); }
  // It has been written: its bytes and scales leave memory. Threads may call this for different tensors.
  void done_with(const std::string& tensor);

 private:
  // Linear layers that read the same inputs.
  struct Site {
    std::span<Linear> readers;
    size_t place = 0;  // in the order of computation
    std::optional<InputMoments> moments = {};
  };

  // A decoder layer while it is pruned. Stays where it is: sites point into it.
  struct Work {
    DecoderLayer layer;
    std::optional<DecoderLayer> dense = {};  // where it is needed beside the pruned one
    std::vector<Site> sites = {};
  };

  uint64_t reserve_results();  // gives their bytes
  void take_streams();
  void embed();
  void free_working_memory();
  std::unique_ptr<Work> load(int64_t index) const;
  void prune_layer(int64_t index, ProgressCounter& progress);
  std::vector<Site> sites_of(DecoderLayer& layer) const;
  bool is_planned(const Linear& linear) const { return planned_.contains(linear.weight_name); }
  void collect(const DecoderLayer& dense, const DecoderLayer& pruned, std::span<Site> sites,
               std::span<Site> stage);
  void add_inputs(Site& site, const float* x, int64_t n, std::span<const float> hidden,
                  std::span<const float> dense);
  void keep_target(std::span<float> target);
  void prune_site(Site& site, ProgressCounter& progress);
  void reconstruct_with_previous(std::unique_ptr<Work> work);
  void reconstruct(std::span<Work* const> layers, std::span<const float> inputs);
  void store_again(Work& work);
  void store_again(Linear& linear, const Linear& dense, const InputMoments& moments);
  void prune_linear(Linear& linear, const InputMoments& moments, const Matrix<float>& blend);
  StoredTensor stored(const PlannedTensor& planned, std::span<std::byte> after) const;
  void advance(const DecoderLayer& layer, std::span<float> from, std::span<float> to);
  void release(const DecoderLayer& layer) const;
  void release(const std::string& tensor) const;

  // Calls body(hidden states of some sequences, the sequences).
  template <class Body>
  void for_each_batch(std::span<float> stream, Body&& body);

  const Checkpoint& checkpoint_;
  const PrunePlan& plan_;
  const LayerMethod& method_;
  Index scale_group_;
  Decoder decoder_;
  CalibrationText text_;
  RopeTable rope_;
  double follow_;
  std::map<std::string, const PlannedTensor*> planned_;
  Scratch scratch_;                 // hidden states, until the last layer is pruned
  Scratch results_;                 // pruned weights
  std::span<float> pruned_stream_;  // [samples length, width]
  std::span<float> dense_stream_;   // empty where nothing is followed
  LayerActivations pruned_activations_;
  LayerActivations dense_activations_;
  std::span<float> target_;  // of the layer's outputs; empty where nothing is reconstructed, and so are:
  std::span<float> previous_stream_;  // the inputs of the layer before
  std::unique_ptr<Work> previous_;    // that layer, pruned
  FloatMatrix pruned_outputs_;
  FloatMatrix dense_outputs_;
  FloatMatrix lacking_;                       // what the pruned stream lacks to be the dense one, of a batch
  std::map<std::string, double> sparsities_;  // of tensors that have not the plan's
  std::map<std::string, PrunedTensor> pruned_;
};

}  // namespace prune
