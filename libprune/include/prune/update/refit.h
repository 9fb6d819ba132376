// The best values for the weights that a mask keeps: least squares, every row over its own support.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <prune/layer_error.h>
#include <prune/mask.h>
#include <prune/update/damped_gram.h>

namespace prune::update {

struct RefitOptions {
  double damping = 1e-3;  // added to G's diagonal, as a share of its mean
  int max_steps = 30;     // of conjugate gradients; most layers need 10 to 20
};

struct RefitResult {
  double error_before = 0;  // layer_error() of the weights given, pruned ones at 0
  double error_after = 0;   // not above error_before, but for the rounding of sums
  int steps = 0;            // the most that any row took
};

namespace detail {

using prune::detail::kPanelRows;
using prune::detail::rows_of;

// Conjugate gradients on some rows at once, each row a system of its own over its support, with the diagonal
// as preconditioner. One product with G a step for all rows that have not converged.
class RowSolver {
 public:
  RowSolver(const ConstView<float>& gram, const Damping& damping) : gram_(gram), damping_(damping) {}

  // Improves `weights`, which are 0 off the mask; `residual` holds B - W' G and is used up. Returns the
  // steps.
  int solve(View<float>& weights, const Mask& mask, Index mask_begin, const ConstView<float>& dense,
            Matrix<float>& residual, int max_steps) {
    start(weights, mask, mask_begin, dense, residual);
    int step = 0;
    for (; step < max_steps && !rows_.empty(); ++step) {
      const Index active = Index(rows_.size());
      prune::detail::multiply(1, rows_of(view(direction_), 0, active), gram_, 0,
                              view(product_.data(), active, product_.cols()));
      for (Index i = active - 1; i >= 0; --i) {
        if (!advance(i, weights, mask, mask_begin, residual)) retire(i, residual);
      }
    }
    return step;
  }

 private:
  struct Row {
    Index index;   // of the weights
    float energy;  // r^T z, which bounds what is left to gain
    float enough;  // stop below
  };

  // A millionth of what the start could gain at most is far below what one more token changes.
  static constexpr float kTolerance = 1e-6f;

  static void mask_row(const Mask& mask, Index i, float* row) {
    prune::detail::apply_row<uint32_t>(row, mask.row(i).data(), mask.cols(), row);
  }

  void start(const View<float>& weights, const Mask& mask, Index mask_begin, const ConstView<float>& dense,
             Matrix<float>& residual) {
    residual += damping_.lambda * (dense - weights);
    direction_.resize(weights.rows(), weights.cols());
    product_.resize(weights.rows(), weights.cols());
    rows_.clear();
    for (Index i = 0; i < weights.rows(); ++i) {
      mask_row(mask, mask_begin + i, residual.row(i).data());
      direction_.row(i) = residual.row(i).cwiseProduct(damping_.inverse_diagonal);
      const float energy = residual.row(i).dot(direction_.row(i));
      rows_.push_back({i, energy, kTolerance * energy});
    }
    for (Index i = weights.rows() - 1; i >= 0; --i) {
      if (!(rows_[size_t(i)].energy > 0)) retire(i, residual);
    }
  }

  // One step of the row in place i. False when it has converged, or when H has no curvature left for it.
  bool advance(Index i, View<float>& weights, const Mask& mask, Index mask_begin, Matrix<float>& residual) {
    Row& row = rows_[size_t(i)];
    auto p = direction_.row(i);
    auto q = product_.row(i);
    auto r = residual.row(i);
    q += damping_.lambda * p;
    const float length = row.energy / p.dot(q);
    if (!(length > 0 && std::isfinite(length))) return false;
    weights.row(row.index) += length * p;
    r -= length * q;
    mask_row(mask, mask_begin + row.index, r.data());
    q = r.cwiseProduct(damping_.inverse_diagonal);
    const float energy = r.dot(q);
    if (!(energy > row.enough)) return false;
    p = q + (energy / row.energy) * p;
    row.energy = energy;
    return true;
  }

  // Rows still at work stay contiguous, so that the product has no idle rows.
  void retire(Index i, Matrix<float>& residual) {
    const Index last = Index(rows_.size()) - 1;
    if (i != last) {
      direction_.row(i) = direction_.row(last);
      residual.row(i) = residual.row(last);
      rows_[size_t(i)] = rows_[size_t(last)];
    }
    rows_.pop_back();
  }

  ConstView<float> gram_;
  const Damping& damping_;
  Matrix<float> direction_;
  Matrix<float> product_;
  std::vector<Row> rows_;
};

struct PanelRefit {
  double error_before = 0;
  int steps = 0;
};

// Refits the rows of one panel; mask row mask_begin + i is of row i. errors[i] becomes the error of row i,
// never above that of the start.
inline PanelRefit refit_panel(View<float> weights, const Mask& mask, Index mask_begin,
                              const ConstView<float>& gram, const LayerTarget& target, const Damping& damping,
                              int max_steps, double* errors) {
  const ConstView<float> result = prune::detail::as_const(weights);
  Matrix<float> residual;
  std::vector<double> after(size_t(weights.rows()));
  for (Index i = 0; i < weights.rows(); ++i) {
    float* row = weights.data() + i * weights.outerStride();
    prune::detail::apply_row<uint32_t>(row, mask.row(mask_begin + i).data(), mask.cols(), row);
    for (Index j = 0; j < weights.cols(); ++j) row[j] = damping.inverse_diagonal[j] > 0 ? row[j] : 0;
  }
  prune::detail::output_residual(result, gram, target, residual, errors);
  const Matrix<float> start = weights;
  RowSolver solver(gram, damping);
  PanelRefit done;
  done.error_before = std::accumulate(errors, errors + weights.rows(), 0.0);
  done.steps = solver.solve(weights, mask, mask_begin, target.dense, residual, max_steps);
  prune::detail::output_residual(result, gram, target, residual, after.data());
  for (Index i = 0; i < weights.rows(); ++i) {
    if (after[size_t(i)] < errors[i])
      errors[i] = after[size_t(i)];
    else
      weights.row(i) = start.row(i);
  }
  return done;
}

inline void require_mask(const ConstView<float>& weights, const Mask& mask) {
  if (mask.rows() != weights.rows() || mask.cols() != weights.cols()) {
    throw_usage("mask: expected " + prune::detail::shape_of(weights) + " as the weights, got " +
                std::to_string(mask.rows()) + " x " + std::to_string(mask.cols()));
  }
}

}  // namespace detail

// Sets the kept weights w' of each row to the minimum over the row's support of
//
//   w' G w'^T - 2 b w'^T + lambda |w' - w|^2,    lambda = damping mean(diag G), b = w G unless the target has
//   B,
//
// w the dense row. The damping pulls towards the dense weights, not towards 0: with a full mask nothing
// changes. Starts from `weights` [out, in]; pruned weights become +0, and so do kept weights of inputs that
// are always 0 (G_jj = 0). A row whose error, as layer_error() measures it, would not be lower keeps its
// start. `weights` and the dense weights must not be the same memory. Throws as layer_error().
//
// Method: conjugate gradients preconditioned by the diagonal, restricted to the support by projection, for
// blocks of rows together: the support of each row is different, the product with G is shared. 2 out in^2
// operations a step, where exact solves take out (kept a row)^3 / 3. Refit by projected gradients: Meng et
// al., "ALPS", arXiv 2406.07831.
inline RefitResult refit(View<float> weights, const Mask& mask, const ConstView<float>& gram,
                         const LayerTarget& target, const RefitOptions& options = {}) {
  const ConstView<float> start = prune::detail::as_const(weights);
  prune::detail::require_layer(start, gram, target);
  detail::require_mask(start, mask);
  const detail::Damping damping(gram, options.damping);
  double before = 0;
  double after = 0;
  RefitResult result;
  std::vector<double> errors(static_cast<size_t>(detail::kPanelRows));
  for (Index begin = 0; begin < weights.rows(); begin += detail::kPanelRows) {
    const Index rows = std::min(detail::kPanelRows, weights.rows() - begin);
    const auto panel =
        detail::refit_panel(detail::rows_of(weights, begin, rows), mask, begin, gram,
                            detail::rows_of(target, begin, rows), damping, options.max_steps, errors.data());
    before += panel.error_before;
    after = std::accumulate(errors.data(), errors.data() + rows, after);
    result.steps = std::max(result.steps, panel.steps);
  }
  const double energy = prune::detail::energy_of(gram, target);
  result.error_before = prune::detail::relative_error(before, energy, target);
  result.error_after = prune::detail::relative_error(after, energy, target);
  return result;
}

// The same where `weights` are still the dense ones.
inline RefitResult refit(const View<float>& weights, const Mask& mask, const ConstView<float>& gram,
                         const RefitOptions& options = {}) {
  const Matrix<float> dense = weights;
  return refit(weights, mask, gram, LayerTarget{view(dense), std::nullopt, 0}, options);
}

}  // namespace prune::update
