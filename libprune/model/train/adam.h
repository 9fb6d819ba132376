// Adam (Kingma & Ba, arXiv:1412.6980) with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libprune/model/decoder/gradients.h"

namespace prune {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
};

// m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
// w -= rate (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w)  at step t = 1, 2, ...
// A weight that is 0 and has only ever had gradients of 0 stays exactly 0: pruned weights need no mask here.
class Adam {
 public:
  explicit Adam(const AdamOptions& options = {}) : options_(options) {}

  // The same parameters, in the same order and of the same sizes, at every step.
  void step(std::span<const Parameter> parameters, double rate);
  int64_t steps() const { return steps_; }

 private:
  struct Moments {
    std::vector<float> first, second;
  };

  AdamOptions options_;
  int64_t steps_ = 0;
  std::vector<Moments> moments_;
};

}  // namespace prune
