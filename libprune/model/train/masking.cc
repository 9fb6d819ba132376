#include "libprune/model/train/masking.h"

#include <algorithm>
#include <limits>

#include <prune/error.h>
#include <prune/matrix.h>
#include <prune/select.h>

#include "libprune/model/parallel.h"

namespace prune {
namespace {

class FixedMasking : public Masking {
 public:
  void begin(std::span<const MaskedLinear> linears) override {
    linears_.assign(linears.begin(), linears.end());
    for (const MaskedLinear& linear : linears_) masks_.push_back(nonzero_mask(linear.weight()));
    restored();
  }
  bool is_fixed() const override { return true; }
  const Mask* mask_of(const Linear& linear) const override {
    const auto own = std::ranges::find(linears_, &linear, &MaskedLinear::linear);
    return own == linears_.end() ? nullptr : &masks_[size_t(own - linears_.begin())];
  }
  void before_forward(int64_t) override {}
  double after_backward(int64_t) override {
    parallel_for(masking_.size(), 0,
                 [&](size_t i) { apply(masks_[masking_[i]], linears_[masking_[i]].slope()); });
    return 0;
  }
  // A weight of 0 that has only had gradients of 0 was not moved.
  void after_update() override {}
  void restored() override {
    masking_.clear();
    for (size_t i = 0; i < masks_.size(); ++i) {
      if (masks_[i].count() < masks_[i].size()) masking_.push_back(i);
    }
  }
  void visit(StateVisitor& state) override {
    for (size_t i = 0; i < linears_.size(); ++i)
      state.values("mask/" + linears_[i].linear->weight_name, words_of(masks_[i]));
  }

 private:
  std::vector<MaskedLinear> linears_;
  std::vector<Mask> masks_;
  std::vector<size_t> masking_;  // those of the masks that prune anything
};

Mask rising_nm_mask(const Matrix<float>& scores, const Pattern& pattern, double sparsity) {
  const double last = *implied_sparsity(pattern);
  Mask goal = select(scores, pattern, last);
  if (sparsity >= last) return goal;
  Matrix<float> raised = scores;
  for (Index i = 0; i < raised.rows(); ++i) {
    for (Index j = 0; j < raised.cols(); ++j) {
      if (goal(i, j)) raised(i, j) = std::numeric_limits<float>::infinity();
    }
  }
  return select(raised, Unstructured{}, sparsity);
}

BlockScores block_scores(const Matrix<float>& scores, const Block& block) {
  return {block, scores.cast<double>()};
}

std::vector<Mask> choose_together(const MaskGoal& goal, std::span<const Matrix<float>> scores,
                                  double sparsity) {
  if (const Block* block = std::get_if<Block>(&goal.pattern)) {
    std::vector<BlockScores> blocks;
    for (const Matrix<float>& matrix : scores) blocks.push_back(block_scores(matrix, *block));
    return select_global(blocks, sparsity);
  }
  std::vector<ConstView<float>> views;
  for (const Matrix<float>& matrix : scores) views.push_back(view(matrix));
  return select_global(views, sparsity);
}

}  // namespace

std::span<float> Masking::moved(const Linear& linear) const {
  // The optimizer's parameters are those of a model that is not const.
  return {const_cast<float*>(linear.weight.data()), size_t(linear.weight.size())};
}

std::unique_ptr<Masking> fixed_masking() { return std::make_unique<FixedMasking>(); }

std::vector<Mask> choose_masks(const MaskGoal& goal, std::span<const Matrix<float>> scores, double sparsity) {
  const bool is_nm = std::holds_alternative<NM>(goal.pattern);
  if (goal.scope == Scope::kGlobal && !is_nm) return choose_together(goal, scores, sparsity);
  std::vector<Mask> masks(scores.size());
  parallel_for(scores.size(), 0, [&](size_t i) {
    if (is_nm) {
      masks[i] = rising_nm_mask(scores[i], goal.pattern, sparsity);
    } else if (const Block* block = std::get_if<Block>(&goal.pattern)) {
      masks[i] = select(block_scores(scores[i], *block), sparsity, Scope::kLayer);
    } else {
      masks[i] = select(scores[i], goal.pattern, sparsity, Scope::kLayer);
    }
  });
  return masks;
}

std::span<uint64_t> words_of(Mask& mask) {
  if (mask.rows() == 0) return {};
  const std::span<uint64_t> first = mask.row(0);
  return {first.data(), first.size() * size_t(mask.rows())};
}

std::vector<MaskedLinear> chosen_linears(const MaskGoal& goal, std::span<const MaskedLinear> linears) {
  std::vector<MaskedLinear> chosen;
  for (const MaskedLinear& linear : linears) {
    const std::string& name = linear.linear->weight_name;
    if (!goal.tensors.empty() && !goal.tensors.contains(name)) continue;
    if (const auto reason = misfit(goal.pattern, linear.linear->out, linear.linear->in))
      throw_input(name + " can't take pattern " + to_string(goal.pattern) + ": " + *reason);
    chosen.push_back(linear);
  }
  return chosen;
}

}  // namespace prune
