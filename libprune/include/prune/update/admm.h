// Mask and weights found together, by the alternating direction method of multipliers.
#pragma once

#include <bit>
#include <cmath>
#include <string>

#include <prune/score/magnitude.h>
#include <prune/select.h>
#include <prune/triangular.h>
#include <prune/update/damped_gram.h>

namespace prune::update {

struct AdmmOptions {
  double damping = 1e-3;    // added to G's diagonal, as a share of its mean
  double rho = 0.1;         // the first penalty, where H has a unit diagonal
  double growth = 1.15;     // of the penalty, every second step; slower finds better masks
  int max_steps = 100;      // taken in pairs
  bool keep_zeros = false;  // weights that are 0 in the dense ones stay 0, and count as pruned
};

struct AdmmResult {
  Mask mask;
  int steps = 0;
  double rho = 0;  // the last penalty
};

namespace detail {

// The iteration, on weights scaled so that H has a unit diagonal: there the square of a weight is what
// pruning it alone costs, so that magnitudes choose the mask.
//
// With B the free weights, D the sparse ones and V the multipliers, textbooks iterate
//   B = (H + rho I)^-1 (rhs - V + rho D),  D = project(B + V / rho),  V += rho (B - D).
// For T = B + V / rho that gives D = T on the mask and V = rho T off it: T and the mask are the whole state.
class Admm {
 public:
  Admm(const ConstView<float>& gram, const LayerTarget& target, const Pattern& pattern, double sparsity,
       const AdmmOptions& options)
      : scaled_(gram, options.damping),
        pattern_(pattern),
        sparsity_(sparsity),
        keeps_zeros_(options.keep_zeros),
        rho_(float(options.rho)),
        dual_rho_(0) {  // no multipliers yet
    if (keeps_zeros_) nonzero_ = nonzero_mask(target.dense);
    rhs_ = scaled_.damping.lambda * target.dense;
    if (target.rhs)
      rhs_ += *target.rhs;
    else
      prune::detail::multiply(1, target.dense, gram, 1, view(rhs_.data(), rhs_.rows(), rhs_.cols()));
    rhs_.array().rowwise() *= scaled_.scale.array();
    const auto& scale = scaled_.scale.array();
    unscale_ = (scale > 0).select(scale.inverse(), 0);
    state_ = target.dense.array().rowwise() * unscale_.array();
    choose();
    factor();
  }

  // Returns how much of the free weights is off the mask: the square of |B - D| / |B|.
  double step() {
    free_ = rhs_;
    for_each([this](bool keep, float& b, float& t) { b += (keep ? rho_ : -dual_rho_) * t; });
    // B H = rhs with H = V V^T
    const View<float> free = view(free_.data(), free_.rows(), free_.cols());
    prune::detail::solve_right_transposed(view(factor_), free);
    prune::detail::solve_right(view(factor_), free);
    const double all = std::max(double(free_.squaredNorm()), 1e-30);
    for_each([this](bool keep, float& b, float& t) { t = b + (keep ? 0 : dual_rho_ / rho_ * t); });
    dual_rho_ = rho_;
    choose();
    for_each([](bool keep, float& b, float& t) { b -= keep ? t : 0; });
    return double(free_.squaredNorm()) / all;
  }

  void raise(double factor_of_rho) {
    rho_ *= float(factor_of_rho);
    factor();
  }

  const Mask& mask() const { return mask_; }
  double rho() const { return double(rho_); }

  void write(View<float>& weights) const {
    weights = state_.array().rowwise() * scaled_.scale.array();
    apply(mask_, weights);
  }

 private:
  // Weights that must stay 0 are worth nothing, and are pruned even where others would have to go as well.
  void choose() {
    if (!keeps_zeros_) {
      mask_ = select_magnitude(state_, pattern_, sparsity_);
      return;
    }
    Matrix<float> worth = state_;
    apply(nonzero_, worth);
    mask_ = select_magnitude(worth, pattern_, sparsity_);
    for (Index i = 0; i < mask_.rows(); ++i) {
      for (size_t word = 0; word < mask_.row(i).size(); ++word) mask_.row(i)[word] &= nonzero_.row(i)[word];
    }
  }

  template <class F>
  void for_each(const F& f) {
    for (Index i = 0; i < state_.rows(); ++i) {
      const auto bits = mask_.row(i);
      float* b = free_.data() + i * free_.cols();
      float* t = state_.data() + i * state_.cols();
      for (Index j = 0; j < state_.cols(); ++j) f(bits[size_t(j / 64)] >> (j % 64) & 1, b[j], t[j]);
    }
  }

  // Two triangular solves a step cost what one product with the inverse does, 2 out in^2, and half of what
  // the two products of an eigenbasis do; a new factor costs in^3 / 3 every second step. For out = in = 4096
  // that is 2.2 in^3 a step, against 4 in^3 and an eigendecomposition of more than 10 in^3 before the first;
  // for in = 14336, out = 4096 it is 0.7 in^3 against 1.1 in^3. Nor does a factor of H + rho I with rho >=
  // 0.1 need doubles.
  void factor() {
    factor_ = scaled_.matrix;
    factor_.diagonal().array() += rho_;
    if (!prune::detail::factor_upper(view(factor_.data(), factor_.rows(), factor_.cols())))
      throw_not_positive("G + (damping + rho) I");
  }

  ScaledGram scaled_;
  Pattern pattern_;
  double sparsity_;
  bool keeps_zeros_;
  Mask nonzero_;  // of the dense weights, where zeros are kept
  float rho_;
  float dual_rho_;  // the penalty that the multipliers in state_ were made with
  Matrix<float> rhs_;
  Matrix<float> free_;
  Matrix<float> state_;
  Mask mask_;
  Eigen::RowVectorXf unscale_;
  Matrix<float> factor_;  // V
};

inline Index difference(const Mask& a, const Mask& b) {
  Index count = 0;
  for (Index i = 0; i < a.rows(); ++i) {
    for (size_t word = 0; word < a.row(i).size(); ++word)
      count += std::popcount(a.row(i)[word] ^ b.row(i)[word]);
  }
  return count;
}

}  // namespace detail

// Looks for the mask and the weights W' under it that minimise
//
//   tr(W' G W'^T) - 2 tr(B W'^T) + lambda |W' - W|^2,   lambda = damping mean(diag G), B = W G or the
//   target's,
//
// and writes W' into `weights` [out, in], which may be the dense weights' own memory. The mask satisfies the
// pattern, with the counts and ties of select(): unstructured sparsity and blocks are shared out over the
// layer. W' is close to the optimum under the mask; refit() reaches it. Inputs that are always 0 are pruned
// first. Throws as layer_error() and select().
//
// Method: ALPS (Meng et al., arXiv 2406.07831): ADMM between the least squares and the pattern, on the layer
// scaled to a unit diagonal, with a penalty that grows until both agree.
inline AdmmResult admm(View<float> weights, const ConstView<float>& gram, const LayerTarget& target,
                       const Pattern& pattern, double sparsity, const AdmmOptions& options = {}) {
  prune::detail::require_layer(prune::detail::as_const(weights), gram, target);
  const auto is_float = [](double value) { return float(value) > 0 && std::isfinite(float(value)); };
  if (!(is_float(options.rho) && options.growth > 1 && is_float(options.growth))) {
    throw_usage("admm: expected rho > 0 and growth > 1 within the range of float, got " +
                prune::detail::short_number(options.rho) + " and " +
                prune::detail::short_number(options.growth));
  }
  constexpr double kChanges = 3e-4;  // of the kept weights, in two steps
  constexpr double kGap = 0.02;
  detail::Admm iteration(gram, target, pattern, sparsity, options);
  AdmmResult result{iteration.mask(), 0, 0};
  while (result.steps < options.max_steps) {
    iteration.step();
    const double gap = iteration.step();
    result.steps += 2;
    const Index changes = detail::difference(result.mask, iteration.mask());
    result.mask = iteration.mask();
    result.rho = iteration.rho();
    // With a penalty still too small the mask does not move either: hence the gap.
    const bool has_settled = gap < kGap && double(changes) <= kChanges * double(result.mask.count());
    // Nor does a penalty near the end of the floats let anything move any more.
    const bool can_rise = std::isfinite(float(result.rho * options.growth));
    if (has_settled || !can_rise || result.steps >= options.max_steps) break;
    iteration.raise(options.growth);
  }
  iteration.write(weights);
  return result;
}

}  // namespace prune::update
