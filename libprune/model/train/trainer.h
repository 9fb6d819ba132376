// Training of a whole model in memory: AdamW on the cross-entropy of text, with or without a teacher, under
// masks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <prune/mask.h>
#include <prune/schedule.h>

#include "libprune/model/train/trainable_model.h"

namespace prune {

struct TrainingOptions {
  int64_t steps = 300;
  int64_t batch = 8;     // sequences a step
  int64_t seqlen = 512;  // tokens of each
  int64_t warm_up = 20;  // steps
  double learning_rate = 5e-4;
  Decay decay = Decay::kCosine;
  double weight_decay = 0;
  double clip = 1;                // the largest norm of the gradient; 0: any
  double distillation = 0.5;      // share of the teacher's logits in the loss, where there is a teacher
  double temperature = 1;         // of both softmaxes in distillation
  double hidden_weight = 0;       // of the teacher's hidden states, layer by layer
  bool keeps_activations = true;  // false: a third more work for less memory
  uint64_t seed = 0;
};

// What one step saw.
struct TrainingStep {
  int64_t step = 0;  // from 1
  double loss = 0;   // what was minimised
  double cross_entropy = 0;
  double divergence = 0;  // of the teacher's tokens
  double hidden_loss = 0;
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
};

class Trainer {
 public:
  // `masks` [layers] of one mask for each of DecoderLayer::linears(): pruned weights are 0, and stay so. The
  // teacher may be null; it has the student's vocabulary, and its layers and width where hidden_weight > 0.
  // All but the options must outlive the trainer. Throws Error(kUsage) for options that can't be,
  // Error(kInput) for a text shorter than one sequence or a teacher that doesn't fit.
  Trainer(TrainableModel& student, const TrainableModel* teacher, std::vector<std::vector<Mask>> masks,
          std::span<const int32_t> ids, const TrainingOptions& options);
  ~Trainer();

  // The next step. Throws Error(kRuntime) where the loss is not finite or has left all bounds: the weights
  // are then of no use.
  TrainingStep step();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The masks of the weights that are not 0, in the form that Trainer takes.
std::vector<std::vector<Mask>> masks_of(const TrainableModel& model);

}  // namespace prune
