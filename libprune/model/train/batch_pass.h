// Some sequences of a training step through student and teacher, to the losses, and back to the student's
// gradients.
//
// Sequences of a step share nothing but what their losses are divided by, so that each team of threads takes
// some of them through a pass of its own; the gradients of all passes together are the step's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libprune/model/decoder/backward.h"
#include "libprune/model/decoder/rope.h"
#include "libprune/model/train/head_loss.h"
#include "libprune/model/train/model_pass.h"
#include "libprune/model/train/trainable_model.h"
#include "libprune/model/train/training_options.h"

namespace prune {

struct BatchLoss {
  double cross_entropy = 0, divergence = 0;  // see head_loss.h
  double hidden = 0;                         // see HiddenTarget

  void add(const BatchLoss& other, double share) {
    cross_entropy += share * other.cross_entropy;
    divergence += share * other.divergence;
    hidden += share * other.hidden;
  }
};

class BatchPass {
 public:
  // The teacher may be null. All must outlive the pass.
  BatchPass(TrainableModel& student, const TrainableModel* teacher, const TrainingOptions& options);

  ModelGradients& gradients() { return gradients_; }
  // Of all parameters, with these gradients.
  const std::vector<Parameter>& slopes() const { return slopes_; }

  // From the first sequence to the losses at the head; backward() goes on. `predictions` are those that all
  // passes of the step make together.
  void forward(const TokenBatch& batch, std::span<const int32_t> targets, int64_t predictions);
  // |t_l|^2 of the teacher's hidden state after each layer l; nothing where it has no weight.
  const std::vector<double>& hidden_scales() const { return hidden_scales_; }
  // Adds to the gradients. The scales are the sums of those of all passes. Returns this pass's part of the
  // losses.
  BatchLoss backward(const TokenBatch& batch, std::span<const double> hidden_scales);

 private:
  const TrainableModel& student_;
  const TrainableModel* teacher_;
  const TrainingOptions& options_;
  RopeTable student_rope_, teacher_rope_;
  ModelGradients gradients_;
  std::vector<Parameter> slopes_;
  ModelActivations activations_, teacher_activations_;
  std::vector<double> hidden_scales_;
  HeadLoss head_;
  HeadLossBuffers head_buffers_;
  FloatMatrix dnormed_;
  BackwardBuffers buffers_;
};

}  // namespace prune
