// Training of a whole model in memory: AdamW on the cross-entropy of text, with or without a teacher, under
// masks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <prune/report.h>

#include "libprune/model/train/masking.h"
#include "libprune/model/train/trainable_model.h"
#include "libprune/model/train/training_options.h"

namespace prune {

class Trainer {
 public:
  // The masking decides which weights of the layers' linears are 0. The teacher may be null; it has the
  // student's vocabulary, and its layers and width where hidden_weight > 0. Models and ids must outlive the
  // trainer. Throws Error(kUsage) for options that can't be, Error(kInput) for a text shorter than one
  // sequence or a teacher that doesn't fit.
  Trainer(TrainableModel& student, const TrainableModel* teacher, std::unique_ptr<Masking> masking,
          std::span<const int32_t> ids, const TrainingOptions& options);
  ~Trainer();

  // The next step. Throws Error(kRuntime) where the loss is not finite or has left all bounds: the weights
  // are then of no use.
  TrainingStep step();
  int64_t steps_done() const;
  // All that the next steps depend on, but models, text and options.
  void visit(StateVisitor& state);
  // After visit() has put a state back, before the first step: goes on with the batch that follows it.
  void restored();
  // Seconds that steps have waited for data.
  double waiting() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace prune
