// Gradual pruning: the sparsity rises along a schedule, the least weights go first, and the others recover
// meanwhile. Zhu, Gupta, "To Prune, or Not to Prune", arXiv 1710.01878; cubic schedule.
#pragma once

#include <memory>

#include "libprune/model/train/masking.h"

namespace prune {

// What a weight or a block of them is worth.
enum class GradualScore {
  kMagnitude,  // |w|; of a block sum w^2
  kTaylor,  // mean over the last steps of (sum g w)^2, the squared change of the loss were it gone, to first
            // order: Molchanov et al., "Importance Estimation for Neural Network Pruning", arXiv 1906.10771
};

struct GradualOptions {
  MaskGoal goal = {};
  GradualScore score = GradualScore::kMagnitude;
  int64_t interval = 5;  // steps between two masks
  // Masks are learned: pruned weights keep a value, get dL/dW' as their gradient ("straight-through": Bengio,
  // Leonard, Courville, arXiv 1308.3432) less decay * w (SR-STE: Zhou et al., arXiv 2102.04010), and return
  // when they have become large. For magnitudes. Without it, what was pruned stays pruned.
  bool straight_through = false;
  double pruned_decay = 2e-4;
};

std::unique_ptr<Masking> gradual_masking(const GradualOptions& options);

}  // namespace prune
