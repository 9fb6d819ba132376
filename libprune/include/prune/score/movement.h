// Movement pruning: a weight is worth what it did for the loss while it was trained. It stays when it moves
// away from 0, whatever its size.
//
// Sanh, Wolf, Rush, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", arXiv 2005.07683; blocks: Lagunas,
// Charlaix, Sanh, Rush, "Block Pruning For Faster Transformers", arXiv 2109.04838.
//
// For a layer W [out, in] with scores S, the network computes with W' = W o M(S), where the mask M is not
// differentiable; its gradient is passed straight through, as if W' = W o S:
//
//   dL/dS = dL/dW' o W     for every weight, pruned ones too: they come back when their score rises
//   dL/dW = dL/dW' o M     a pruned weight stands still meanwhile
//
// Any training loop that knows W and dL/dW' does this, once a step, for each layer:
//
//   const Mask mask = select(scores, sparsity.at(step));
//   apply(mask, w, w_pruned);                                       // forward and backward with these
//   adam.step(1e-2, scores.gradient(w, dw_pruned), scores.values());
//   apply(mask, dw_pruned);                                         // now dL/dW, for the weights' optimizer
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <prune/finite.h>
#include <prune/score/magnitude.h>
#include <prune/select.h>

namespace prune {

// The scores of one matrix: one a weight, or one a block R x C.
class MovementScores {
 public:
  // All 0: what training says alone decides. While scores are equal the first ones stay, so a sparsity should
  // rise from 0; N:M, whose sparsity is fixed, begins with the first N of each group. Throws as
  // require_fit().
  static MovementScores zero(Index rows, Index cols, const Pattern& pattern) {
    require_fit(pattern, rows, cols);
    const Block unit = unit_of(pattern);
    return {pattern, Matrix<float>::Zero(rows / unit.rows, cols / unit.cols)};
  }

  // scale * |W|, of a block scale * sqrt(sum of w^2): the first mask is that of magnitude pruning. How long
  // it lasts is a matter of scale: Adam moves a score by about its rate a step. Throws as require_fit() and
  // select_magnitude().
  template <RowMajorMatrix W>
  static MovementScores magnitude(const W& weights, const Pattern& pattern, double scale = 1) {
    require_fit(pattern, weights.rows(), weights.cols());
    detail::refuse_nan(view(weights));
    if (const Block* block = std::get_if<Block>(&pattern)) {
      const Matrix<double> squares = score::block_magnitude(weights, *block, BlockNorm::kL2).values;
      return {pattern, (scale * squares.cwiseSqrt()).template cast<float>()};
    }
    return {pattern, (scale * score::magnitude(weights).template cast<double>()).template cast<float>()};
  }

  const Pattern& pattern() const { return pattern_; }

  // [rows, cols], or [rows / R, cols / C]; for an optimizer to change.
  Matrix<float>& values() { return values_; }
  const Matrix<float>& values() const { return values_; }

  // dL/dS = dL/dW' o W, of a block the sum, in the shape of values(). W [rows, cols] are the weights before
  // the mask, `pruned_gradient` dL/dW' of the same shape. Throws Error(kUsage) for another shape,
  // Error(kInput) where a product is NaN or infinite, as when the loss has diverged.
  template <RowMajorMatrix W, RowMajorMatrix G>
  Matrix<float> gradient(const W& weights, const G& pruned_gradient) const {
    const Block unit = unit_of(pattern_);
    const Index rows = values_.rows() * unit.rows;
    const Index cols = values_.cols() * unit.cols;
    const auto require_shape = [&](const char* name, Index its_rows, Index its_cols) {
      if (its_rows == rows && its_cols == cols) return;
      throw_usage(std::string("movement: expected ") + name + " of " + std::to_string(rows) + " x " +
                  std::to_string(cols) + ", got " + std::to_string(its_rows) + " x " +
                  std::to_string(its_cols));
    };
    require_shape("weights", weights.rows(), weights.cols());
    require_shape("a gradient", pruned_gradient.rows(), pruned_gradient.cols());
    Matrix<float> product(rows, cols);
    for (Index i = 0; i < rows; ++i) {
      const auto* w = weights.data() + i * weights.outerStride();
      const auto* g = pruned_gradient.data() + i * pruned_gradient.outerStride();
      for (Index j = 0; j < cols; ++j) product(i, j) = float(as_double(g[j]) * as_double(w[j]));
    }
    detail::require_finite(view(product), "gradient of the scores");
    if (!std::holds_alternative<Block>(pattern_)) return product;
    return score::block_sum(product, unit, as_double<float>).values.cast<float>();
  }

  // How the scores of a matrix are laid out: 1 x 1, or a block.
  static Block unit_of(const Pattern& pattern) {
    const Block* block = std::get_if<Block>(&pattern);
    return block ? *block : Block{1, 1};
  }

 private:
  MovementScores(const Pattern& pattern, Matrix<float> values)
      : pattern_(pattern), values_(std::move(values)) {}

  Pattern pattern_;
  Matrix<float> values_;
};

// The hard mask: the largest scores stay, "top v" with v = 1 - sparsity; of N:M the N largest of every M.
// Counts, ties and errors as select() of a matrix; NaN is named by its place among the scores.
inline Mask select(const MovementScores& scores, double sparsity, Scope scope = Scope::kLayer) {
  if (const Block* block = std::get_if<Block>(&scores.pattern())) {
    return select(BlockScores{*block, scores.values().cast<double>()}, sparsity, scope);
  }
  return select(scores.values(), scores.pattern(), sparsity, scope);
}

// Hard masks of several matrices under one threshold, in their order; N:M has none to share. All must have
// the same pattern, else Error(kUsage). See select_global() of matrices.
inline std::vector<Mask> select_global(
    const std::vector<std::reference_wrapper<const MovementScores>>& matrices, double sparsity) {
  std::vector<Mask> masks;
  std::vector<ConstView<float>> each;
  std::vector<BlockScores> blocks;
  for (const MovementScores& scores : matrices) {
    if (scores.pattern() != matrices.front().get().pattern())
      throw_usage("global selection: several patterns");
    if (std::holds_alternative<NM>(scores.pattern())) {
      masks.push_back(select(scores, sparsity));
    } else if (const Block* block = std::get_if<Block>(&scores.pattern())) {
      blocks.push_back({*block, scores.values().cast<double>()});
    } else {
      each.push_back(view(scores.values()));
    }
  }
  if (!masks.empty()) return masks;
  return blocks.empty() ? select_global(each, sparsity) : select_global(blocks, sparsity);
}

// The soft mask: what has sigmoid(S) > tau stays, 0 <= tau < 1, so that matrices find their own sparsity; but
// never fewer than the share `least` of a matrix, 0 < least <= 1, rounded up: the largest scores then. Throws
// Error(kUsage) for N:M, whose count is fixed, and for another tau or share; Error(kInput) for NaN.
inline Mask select_soft(const MovementScores& scores, double tau, double least = 0.005) {
  if (std::holds_alternative<NM>(scores.pattern())) {
    throw_usage("soft mask: " + to_string(scores.pattern()) + " keeps a fixed number; use select()");
  }
  if (!(tau >= 0 && tau < 1 && least > 0 && least <= 1)) {
    throw_usage("soft mask: expected 0 <= tau < 1 and 0 < least <= 1, got " + detail::short_number(tau) +
                " and " + detail::short_number(least));
  }
  const Matrix<float>& s = scores.values();
  const double threshold = std::log(tau / (1 - tau));  // where the sigmoid is tau; -infinity for 0
  const int64_t above =
      std::count_if(s.data(), s.data() + s.size(), [threshold](float v) { return double(v) > threshold; });
  const int64_t keep = std::max(above, kept_count(s.size(), 1 - least));
  const Mask mask = detail::select_largest(detail::ScoreKeys<float>(view(s)), keep);
  const Block* block = std::get_if<Block>(&scores.pattern());
  return block ? detail::expand_blocks(mask, *block) : mask;
}

// What makes soft masks sparse: R = weight * mean of sigmoid(S). Returns R and adds dR/dS to `gradient`, of
// the shape of the scores. Of L matrices each has the weight lambda / L; lambda grows with tau,
// lambda_t = lambda tau_t / tau.
inline double add_sigmoid_penalty(const MovementScores& scores, double weight, Matrix<float>& gradient) {
  const Matrix<float>& s = scores.values();
  if (gradient.rows() != s.rows() || gradient.cols() != s.cols()) {
    throw_usage("sigmoid penalty: the gradient must have the shape of the scores");
  }
  double sum = 0;
  const double share = s.size() == 0 ? 0 : weight / double(s.size());
  for (Index i = 0; i < s.size(); ++i) {
    const double sigmoid = 1 / (1 + std::exp(-double(s.data()[i])));
    sum += sigmoid;
    gradient.data()[i] += float(share * sigmoid * (1 - sigmoid));
  }
  return share * sum;
}

}  // namespace prune
