// What decides, step by step, which weights are zero while a model is trained.
//
// The model computes with W' = W o M_t. A masking chooses M_t, turns the gradient dL/dW' that the backward
// pass leaves into the dL/dW that the optimizer gets, and learns its scores from it.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <prune/mask.h>
#include <prune/pattern.h>
#include <prune/schedule.h>

#include "libprune/model/decoder/gradients.h"
#include "libprune/model/train/state_visitor.h"

namespace prune {

// One linear layer whose weights are masked: the model reads linear->weight, W'; its gradient is dL/dW'.
struct MaskedLinear {
  Linear* linear = nullptr;
  LinearGradient* gradient = nullptr;

  View<float> weight() const { return view(linear->weight.data(), linear->out, linear->in); }
  View<float> slope() const { return view(gradient->weight.data(), linear->out, linear->in); }
};

class Masking {
 public:
  virtual ~Masking() = default;
  Masking(const Masking&) = delete;
  Masking& operator=(const Masking&) = delete;

  // Once, before all else: takes those of the model's linear layers that it masks.
  virtual void begin(std::span<const MaskedLinear> linears) = 0;
  // Before the forward pass of step t = 0, 1, ...: the model's weights become W o M_t.
  virtual void before_forward(int64_t step) = 0;
  // After the backward pass: gradients become dL/dW. Returns the penalty on scores, which is no part of the
  // loss.
  virtual double after_backward(int64_t step) = 0;
  // The values that the optimizer moves in place of a linear's weights, and no more of them; by default these
  // themselves. Their gradient is at the start of the linear's.
  virtual std::span<float> moved(const Linear& linear) const;
  // True where the optimizer moves nothing but these.
  virtual bool trains_linears_only() const { return false; }
  // True where the weights that are 0 are so from the first step to the last.
  virtual bool is_fixed() const { return false; }
  // The mask of a linear where it is_fixed(), once begun; null: all of its products are dense.
  virtual const Mask* mask_of(const Linear& /*linear*/) const { return nullptr; }
  // After the optimizer has moved them: the model's weights become W o M_t again.
  virtual void after_update() = 0;
  // What is learned, and part of a training's state.
  virtual void visit(StateVisitor& state) = 0;
  // After the state was put back, the weights included: the model's weights become W o M again, unless
  // before_forward() makes them so at every step.
  virtual void restored() { after_update(); }

 protected:
  Masking() = default;
};

// The masks of the weights that are not 0, which stay: for models that are pruned already.
std::unique_ptr<Masking> fixed_masking();

// How a sparsity is reached, and what it is shared over.
struct MaskGoal {
  Pattern pattern = NM{2, 4};
  double sparsity = 0.5;
  Scope scope = Scope::kLayer;         // kLayer, or kGlobal for all of them together; N:M has none
  CubicSchedule schedule = {};         // from 0 to the sparsity
  std::set<std::string> tensors = {};  // the weights to prune by their tensors' names; empty: all
};

// One score a weight, or a block, of each of several matrices -> their masks, at a sparsity on the way to the
// goal's. On the way to N:M, what is pruned are the least of those weights that the N:M mask of the same
// scores leaves out. Counts and ties as in select() and select_global().
std::vector<Mask> choose_masks(const MaskGoal& goal, std::span<const Matrix<float>> scores, double sparsity);

// The bits of a mask, as a piece of state.
std::span<uint64_t> words_of(Mask& mask);

// The linear layers that the goal names. Throws Error(kInput) for one that can't take the pattern.
std::vector<MaskedLinear> chosen_linears(const MaskGoal& goal, std::span<const MaskedLinear> linears);

}  // namespace prune
