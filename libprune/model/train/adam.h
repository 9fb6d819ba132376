// Adam (Kingma & Ba, arXiv:1412.6980) with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101),
// and LAMB (You et al., arXiv:1904.00962).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libprune/model/decoder/gradients.h"
#include "libprune/model/train/state_visitor.h"

namespace prune {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool is_lamb = false;  // each tensor's step is scaled to the tensor's norm: for large batches
};

// m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
// u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w,  w -= rate u  at step t = 1, 2, ...;
// with LAMB w -= rate |w| / |u| u for each tensor, or rate u where one of the norms is 0.
// A weight that is 0 and has only ever had gradients of 0 stays exactly 0: pruned weights need no mask here.
class Adam {
 public:
  explicit Adam(const AdamOptions& options = {}) : options_(options) {}

  // The same parameters, in the same order and of the same sizes, at every step. Their gradients count
  // gradient_scale times, as if they had been multiplied before. Where they have a place for it, values are
  // written rounded to bf16 as well.
  void step(std::span<const Parameter> parameters, double rate, double gradient_scale = 1);
  int64_t steps() const { return steps_; }

  // The moments of these parameters, which are those of every step.
  void visit(std::span<const Parameter> parameters, StateVisitor& state);

 private:
  struct Moments {
    std::vector<float> first, second;
  };

  void begin(std::span<const Parameter> parameters);

  AdamOptions options_;
  int64_t steps_ = 0;
  std::vector<Moments> moments_;
};

}  // namespace prune
