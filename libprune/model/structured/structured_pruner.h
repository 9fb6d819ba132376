// Structured pruning with the inputs that layers see on some text, decoder layer after decoder layer.
//
// Two streams of hidden states run through the layers as in CalibratedPruner: the pruned one, and where the
// method refits, the dense one. Each half of a layer, attention and feed-forward, is cut on its own:
//   1. the half as it is takes both streams, which gives the moments of its output projection's inputs X, and
//      E, how far the dense stream is from the pruned one after it,
//   2. heads or channels are chosen, and the projection is refitted to X W^T + f E: it mends a part of what
//      all layers before it, and the layers that went, did to the hidden state,
//   3. the pruned stream passes the half that is left.
// Before that, where there is a dense stream, the half's readers of the hidden state, q, k and v or gate and
// up, are refitted to f F W^T + (1 - f) N W^T, F and N being the normed dense and pruned hidden state.
// A layer before a gap, layers that go, is to give what the dense model has after the gap: its second half
// aims at g + f (d - g), where d is the dense stream after the gap and g what the dense layer and the layers
// of the gap make of the pruned stream. Where the method trains, the layer then learns to give the same
// mixture, alone and with the one before.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libprune/io/scratch.h"
#include "libprune/model/calibrated/calibration_text.h"
#include "libprune/model/decoder/decoder.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/progress.h"
#include "libprune/model/structured/cut_checkpoint.h"
#include "libprune/model/structured/layer_report.h"
#include "libprune/model/structured/projection.h"

namespace prune {

struct StructuredResult {
  Cut cut;
  std::unique_ptr<Scratch> memory;  // of the changed tensors
  ChangedTensors changed;
  std::vector<LayerReport> layers;
  double nats = 0;  // loss on the sequences that were kept for it; 0 without
};

class StructuredPruner {
 public:
  // Takes moments from the first `fit` sequences of the text and the loss from the `test` after them. All
  // must outlive it. What is held beyond the options' memory goes to `folder`.
  StructuredPruner(const Decoder& decoder, const StructuredOptions& options, const CalibrationText& text,
                   int64_t fit, int64_t test, std::filesystem::path folder);
  ~StructuredPruner();
  StructuredPruner(const StructuredPruner&) = delete;
  StructuredPruner& operator=(const StructuredPruner&) = delete;

  // Cuts the model to this shape, without the layers of `gone`. Throws Error(kInput) naming the layer for
  // inputs that are not finite, Interrupted. To be called once.
  StructuredResult run(const ModelShape& shape, const Units& gone, ProgressCounter& progress);

 private:
  struct Layer;  // one at work

  void embed();
  void skip_layer(int64_t index);
  void release(int64_t index) const;
  Units gap_after(int64_t index) const;
  void pass_gap(const Layer& work);
  void cut_layer(Layer& work);
  bool refit_readers(std::span<Linear> readers, const Norm& norm);
  void make_targets(const Layer& work, std::span<const float> pruned, const Sequences& sequences);
  void attention(Layer& work);
  void choose_heads(Layer& work, const ProjectionMoments& moments);
  Units heads_by_trial(Layer& work, const ProjectionMoments& moments, const ProjectionTask& heads);
  void experts(Layer& work);
  void feed_forward(Layer& work);
  void cut_expert(Layer& work, size_t expert, ProjectionMoments& moments);
  void train(Layer& work);
  void train(std::span<Layer* const> layers, std::span<const float> inputs);
  void pass(const Layer& work, std::span<const float> from, std::span<float> to);
  void store(Layer& work);
  void store(const Layer& work, Linear& linear);
  void advance_attention(const Layer& work);
  void advance_feed_forward(const Layer& work);
  double loss();
  bool crosses_gaps() const;
  // Of the same sequences.
  std::span<float> targets_of(std::span<const float> pruned) const {
    return targets_.subspan(size_t(pruned.data() - pruned_.data()), pruned.size());
  }
  ProjectionTask task(int64_t group, int64_t keep) const;

  // Calls body(hidden states of the pruned stream, of the dense one (may be empty), the sequences, whether
  // moments are taken of them).
  template <class Body>
  void for_each_batch(Body&& body);

  const Decoder& decoder_;
  const StructuredOptions& options_;
  const StructuredMethod& method_;
  const CalibrationText& text_;
  int64_t fit_, test_;
  double follow_;
  ModelShape shape_;
  Units gone_;
  RopeTable rope_;
  Scratch scratch_;
  std::span<float> pruned_;           // [samples length, width]
  std::span<float> dense_;            // empty where nothing is followed
  std::span<float> targets_;          // of the layer, where it is trained or crosses a gap
  std::span<float> previous_inputs_;  // of the layer before, where layers are trained
  std::unique_ptr<Layer> previous_;   // where layers are trained
  LayerActivations activations_, dense_activations_;
  FloatMatrix own_, wanted_;
  std::unique_ptr<Scratch> results_;
  std::map<std::string, std::span<std::byte>> changed_;  // in results_
};

}  // namespace prune
