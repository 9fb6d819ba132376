// Forward and backward pass of a whole model in memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libprune/model/decoder/backward.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/train/trainable_model.h"

namespace prune {

// Sequences of one length, one after another.
struct TokenBatch {
  std::span<const int32_t> ids;
  Sequences sequences;
};

// What a forward pass leaves. A layer's own activations are kept for the backward pass, or computed once more
// by it ("activation checkpointing", Chen et al., arXiv:1604.06174): a third more work, for memory of one
// layer instead of all.
struct ModelActivations {
  bool keeps_layers = true;

  std::vector<FloatMatrix>
      hidden;  // [layers + 1] of [n, width]: each layer's input, and the last one's output
  std::vector<LayerActivations> layers;  // one for each, or one that all share
  FloatMatrix normed;                    // [n, width]: what the head reads
};

void forward_model(const TrainableModel& model, const RopeTable& rope, const TokenBatch& batch,
                   ModelActivations& activations);

// The hidden states of another model that this one's are to resemble (SquareHead, Kurtic et al.,
// arXiv:2310.06927): weight * sum over layers l of |h_l - t_l|^2 / |t_l|^2, h_l being the output of layer l.
struct HiddenTarget {
  const ModelActivations* teacher = nullptr;
  double weight = 0;
  std::span<const double> scales;  // |t_l|^2, of all sequences of the step
};
// Those of these sequences.
std::vector<double> hidden_scales_of(const ModelActivations& teacher);

// From dnormed, the gradient with respect to activations.normed, to those of all parameters, which are added
// to. Returns the loss of the hidden target, 0 without one.
double backward_model(const TrainableModel& model, const RopeTable& rope, const TokenBatch& batch,
                      ModelActivations& activations, const FloatMatrix& dnormed, const HiddenTarget& target,
                      BackwardBuffers& buffers, ModelGradients& gradients);

}  // namespace prune
