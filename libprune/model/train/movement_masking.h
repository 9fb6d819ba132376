// Movement pruning: masks from scores that are learned with the weights. See prune/score/movement.h.
#pragma once

#include <memory>

#include "libprune/model/train/masking.h"

namespace prune {

enum class MaskRule {
  kHard,  // the largest scores stay
  kSoft,  // what has sigmoid(score) > tau stays
};

enum class ScoreStart {
  kZero,
  kMagnitude,  // |w|, of a block sqrt(sum w^2), over its mean of all: the first masks are those of magnitudes
  // sqrt(mean of (dL/dS)^2) over the steps before the sparsity rises, over its mean of all: the first masks
  // are those of Taylor importance (Molchanov et al., arXiv 1906.10771), which unlike |w| compares what
  // weights and whole blocks of different layers do for the loss.
  kTaylor,
};

enum class ScoreStep {
  kAdam,  // about the rate, for every score alike
  kSgd,   // rate * dL/dS over its root mean square of all: as far as the score matters
};

struct MovementOptions {
  MaskGoal goal = {};
  MaskRule rule = MaskRule::kHard;
  ScoreStart start = ScoreStart::kMagnitude;
  double start_scale = 1;  // of scores that don't start from 0
  ScoreStep score_step = ScoreStep::kAdam;
  double score_rate = 1e-2;  // of the scores, until the schedule ends; then masks stay
  // Soft masks: the threshold, and the share of its way there that the penalty lambda mean(sigmoid(S)) takes,
  // each step, the score which divides the model as the schedule wants. So the sparsity follows the schedule;
  // from the step where that ends the threshold is the one that leaves exactly the goal's sparsity of the
  // whole model.
  double tau = 0.1;
  double penalty = 0.5;
  // Pruned weights get dL/dW' too, instead of standing still.
  bool straight_through = false;
};

std::unique_ptr<Masking> movement_masking(const MovementOptions& options);

}  // namespace prune
