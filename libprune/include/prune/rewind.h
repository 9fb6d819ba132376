// Iterative magnitude pruning with rewinding, the baseline that costs several trainings: train, prune a share
// of what is left by |w|, set the weights that stay back to what they were early in training, and again.
//
// Frankle, Dziugaite, Roy, Carbin, "Linear Mode Connectivity and the Lottery Ticket Hypothesis",
// arXiv 1912.05671; rewinding to step 0: Frankle, Carbin, "The Lottery Ticket Hypothesis", arXiv 1803.03635.
#pragma once

#include <cmath>
#include <string>

#include <prune/mask.h>
#include <prune/score/magnitude.h>
#include <prune/select.h>

namespace prune {

// The sparsity after `round` of `rounds` in which each prunes the same share of what is left:
// 1 - (1 - last)^(round / rounds). Exactly `last` after the last. Throws Error(kUsage) for rounds below 1, or
// a round outside [0, rounds].
inline double rewinding_sparsity(double last, int round, int rounds) {
  if (rounds < 1 || round < 0 || round > rounds) {
    throw_usage("rewinding: round " + std::to_string(round) + " of " + std::to_string(rounds));
  }
  return round == rounds ? last : 1 - std::pow(1 - last, double(round) / rounds);
}

// One matrix of a network that is trained several times.
//
//   Rewinding rewinding(w);                          // early in training
//   for each round: train under rewinding.mask(); rewinding.prune(w, pattern, sparsity);
template <SupportedScalar T>
class Rewinding {
 public:
  // Keeps a copy of the weights [out, in] to go back to, and all of them.
  template <RowMajorMatrix M>
  requires std::same_as<typename M::Scalar, T>
  explicit Rewinding(const M& early) : early_(early), mask_(early.rows(), early.cols()) {
    for (Index i = 0; i < mask_.rows(); ++i) {
      for (Index j = 0; j < mask_.cols(); ++j) mask_.set(i, j, true);
    }
  }

  const Mask& mask() const { return mask_; }

  // Prunes trained weights by magnitude to `sparsity` in all, counts and errors as select_magnitude(), and
  // rewinds those that stay. What was pruned before goes first, whatever value it has, so that it never comes
  // back; where more was pruned already than now, nothing changes but the values. Error(kUsage) for blocks
  // after another pattern.
  template <class W>
  requires RowMajorMatrix<std::remove_cvref_t<W>> && std::same_as<typename std::remove_cvref_t<W>::Scalar, T>
  void prune(W&& weights, const Pattern& pattern, double sparsity, Scope scope = Scope::kLayer) {
    if (weights.rows() != mask_.rows() || weights.cols() != mask_.cols()) {
      throw_usage("rewinding: the weights have another shape than early in training");
    }
    Mask mask = next_mask(weights, pattern, sparsity, scope);
    for (Index i = 0; i < mask.rows(); ++i) {
      for (size_t word = 0; word < mask.row(i).size(); ++word) mask.row(i)[word] &= mask_.row(i)[word];
    }
    mask_ = std::move(mask);
    apply(mask_, early_, weights);
  }

 private:
  template <class W>
  Mask next_mask(const W& weights, const Pattern& pattern, double sparsity, Scope scope) const {
    require_fit(pattern, weights.rows(), weights.cols());
    if (const Block* block = std::get_if<Block>(&pattern)) {
      if (!satisfies(mask_, pattern)) throw_usage("rewinding: what is pruned so far is not of whole blocks");
      Matrix<T> kept = early_;
      apply(mask_, weights, kept);
      BlockScores scores = score::block_magnitude(kept, *block);
      for (Index i = 0; i < scores.values.rows(); ++i) {
        for (Index j = 0; j < scores.values.cols(); ++j) {
          if (!mask_(i * block->rows, j * block->cols)) scores.values(i, j) = -1;
        }
      }
      return select(scores, sparsity, scope);
    }
    auto scores = score::magnitude(weights);
    for (Index i = 0; i < scores.rows(); ++i) {
      for (Index j = 0; j < scores.cols(); ++j) {
        if (!mask_(i, j)) scores(i, j) = -1;
      }
    }
    return select(scores, pattern, sparsity, scope);
  }

  Matrix<T> early_;
  Mask mask_;
};

template <RowMajorMatrix M>
Rewinding(const M&) -> Rewinding<typename M::Scalar>;

}  // namespace prune
