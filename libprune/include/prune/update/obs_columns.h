// Which groups of columns to take out of a layer whole when the rest of it makes up for them, and the rest's
// best values. Columns that all rows lose are inputs that need not be computed: the layer, and the one before
// it, become smaller and stay dense.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <prune/score/columns.h>
#include <prune/update/damped_gram.h>

namespace prune::update {

struct ColumnOptions {
  double damping = 1e-3;  // added to G's diagonal, as a share of its mean; pulls towards the dense weights
  Index width = 1;        // columns of a group
  Index fixed = 0;        // columns at the end that belong to no group and stay: a bias, as input that is 1
  Index at_once = 0;      // groups taken out between two rounds of scoring; 0: one for every 512 columns
};

namespace detail {

// W, H^-1 and W0 = argmin in the units of ScaledGram: inputs of unit size, dead ones out of reach.
struct ColumnSystem {
  ScaledGram scaled;
  Eigen::MatrixXd inverse;  // of the scaled H
  Eigen::MatrixXd weights;  // [out, in], at their least squares
  Eigen::RowVectorXd unscale;

  ColumnSystem(const ConstView<float>& gram, const LayerTarget& target, double damping)
      : scaled(gram, damping), unscale(gram.cols()) {
    const Index in = gram.cols();
    const Eigen::RowVectorXd scale = scaled.scale.cast<double>();
    for (Index j = 0; j < in; ++j) unscale[j] = scale[j] > 0 ? 1 / scale[j] : 0;
    const Eigen::LLT<Eigen::MatrixXd> factor(scaled.matrix.cast<double>());
    if (factor.info() != Eigen::Success) throw_not_positive("G + damping I");
    inverse = factor.solve(Eigen::MatrixXd::Identity(in, in));
    weights = target.dense.cast<double>().array().rowwise() * unscale.array();
    if (!target.rhs) return;
    // W0 = W + (B - W G) H^-1
    Eigen::MatrixXd gradient = target.rhs->cast<double>();
    gradient.noalias() -= target.dense.cast<double>() * gram.cast<double>();
    gradient.array().rowwise() *= scale.array();
    weights.noalias() += gradient * inverse;
  }
};

// Groups of columns that go one after another, all others at their least squares all the while.
class ColumnElimination {
 public:
  ColumnElimination(ColumnSystem system, const ColumnOptions& options)
      : system_(std::move(system)),
        width_(options.width),
        left_(size_t((system_.weights.cols() - options.fixed) / options.width)) {
    std::iota(left_.begin(), left_.end(), Index(0));
  }

  // What the layer would lose with each group that is left; in the order of left().
  std::vector<double> losses() const {
    std::vector<double> losses(left_.size());
    for (size_t i = 0; i < left_.size(); ++i) losses[i] = loss_of(left_[i] * width_);
    return losses;
  }

  // Takes out the `count` groups of least loss, of equal ones the last.
  void remove(Index count) {
    const std::vector<double> loss = losses();
    std::vector<size_t> order(left_.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::ranges::sort(order, [&](size_t a, size_t b) {
      return loss[a] != loss[b] ? loss[a] < loss[b] : left_[a] > left_[b];
    });
    order.resize(size_t(count));
    std::vector<Index> columns;
    for (const size_t i : order) {
      for (Index c = 0; c < width_; ++c) columns.push_back(left_[i] * width_ + c);
    }
    eliminate(columns);
    std::ranges::sort(order);
    for (auto i = order.rbegin(); i != order.rend(); ++i) left_.erase(left_.begin() + std::ptrdiff_t(*i));
  }

  const std::vector<Index>& left() const { return left_; }

 private:
  // tr(W_C [(H^-1)_CC]^-1 W_C^T)
  double loss_of(Index at) const {
    const auto w = system_.weights.middleCols(at, width_);
    if (width_ == 1) return w.squaredNorm() / system_.inverse(at, at);
    const Eigen::LLT<Eigen::MatrixXd> factor(system_.inverse.block(at, at, width_, width_));
    if (factor.info() != Eigen::Success) throw_not_positive("G + damping I");
    return factor.matrixL().solve(w.transpose()).squaredNorm();
  }

  // W -= W_C K H^-1_C:,  H^-1 -= H^-1_:C K H^-1_C:,  K = [(H^-1)_CC]^-1. Rows and columns C become zero but
  // for rounding, and are not read again.
  void eliminate(const std::vector<Index>& columns) {
    const Eigen::MatrixXd side = system_.inverse(Eigen::all, columns);
    const Eigen::LLT<Eigen::MatrixXd> factor(Eigen::MatrixXd(side(columns, Eigen::all)));
    if (factor.info() != Eigen::Success) throw_not_positive("G + damping I");
    const Eigen::MatrixXd moved = factor.solve(side.transpose());
    const Eigen::MatrixXd gone = system_.weights(Eigen::all, columns);
    system_.weights.noalias() -= gone * moved;
    system_.inverse.noalias() -= side * moved;
  }

  ColumnSystem system_;
  Index width_;
  std::vector<Index> left_;
};

inline void require_columns(const ConstView<float>& gram, const LayerTarget& target,
                            const ColumnOptions& options) {
  prune::detail::require_layer(target.dense, gram, target);
  if (options.fixed < 0 || options.fixed > target.dense.cols() || options.at_once < 0) {
    throw_usage("column groups: no such number of fixed columns, or of groups at once");
  }
  prune::detail::require_groups(target.dense.cols() - options.fixed, options.width);
}

}  // namespace detail

// The groups of columns that stay, ascending, when `keep` of them do and least squares makes up for the
// others. From all groups C of `options.width` columns the one goes whose
//
//   tr(W_C [(H^-1)_CC]^-1 W_C^T),   H = G + damping mean(diag G) I over the columns left,
//
// is least: the increase of tr((W' - W) H (W' - W)^T), or with a right-hand side of the matching quadratic,
// once all other columns are refitted. They are, and the next goes; `at_once` of them between two rounds of
// scoring. For the weights call refit_columns(). Throws as layer_error(); Error(kUsage) for groups that do
// not tile the columns, or a `keep` that is not from 1 to their number; Error(kInput) where the damped Gram
// matrix has no Cholesky factor.
//
// In doubles: 2 in^3 operations for H^-1, 2 in (in + out) for each column that goes. Method: Optimal Brain
// Surgeon for groups (Hassibi and Stork, 1993; Kurtic et al., ZipLM, arXiv 2302.04089).
inline std::vector<Index> obs_columns(const ConstView<float>& gram, const LayerTarget& target, Index keep,
                                      const ColumnOptions& options = {}) {
  detail::require_columns(gram, target, options);
  const Index groups = (target.dense.cols() - options.fixed) / options.width;
  if (keep < 1 || keep > groups) {
    throw_usage("column groups: expected to keep 1 to " + std::to_string(groups) + ", got " +
                std::to_string(keep));
  }
  const Index columns = target.dense.cols();
  const Index at_once = options.at_once > 0 ? options.at_once : std::max<Index>(1, columns / 512);
  detail::ColumnElimination elimination(detail::ColumnSystem(gram, target, options.damping), options);
  for (Index left = groups; left > keep; left = Index(elimination.left().size())) {
    elimination.remove(std::min(at_once, left - keep));
  }
  return elimination.left();
}

// The weights [out, columns.size()] on some columns of a layer that make up best for the others' absence:
//
//   argmin over W' of tr(W' G_CC W'^T) - 2 tr(B_C W'^T) + lambda |W' - W_C|^2,   lambda = damping mean(diag
//   G),
//
// B = W G unless the target has another. All rows share the columns, so one Cholesky factor gives the exact
// minimum. Inputs that are always 0 keep the dense weights. `columns` ascending, without repetition. Throws
// as obs_columns().
inline Matrix<float> refit_columns(const ConstView<float>& gram, const LayerTarget& target,
                                   const std::vector<Index>& columns, double damping = 1e-3) {
  detail::require_columns(gram, target, {});
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] < 0 || columns[i] >= gram.cols() || (i > 0 && columns[i] <= columns[i - 1])) {
      throw_usage("refit of columns: they must be the layer's, and ascend");
    }
  }
  const double lambda = prune::detail::damping_of(gram, damping);
  Eigen::MatrixXd h = gram(columns, columns).cast<double>();
  for (Index j = 0; j < h.cols(); ++j) h(j, j) = h(j, j) > 0 ? h(j, j) + lambda : 1;
  const Eigen::MatrixXd dense = target.dense(Eigen::all, columns).cast<double>();
  // The minimum is W_C + (B_C - W_C G_CC) H^-1, so that rounding falls on the difference alone.
  Eigen::MatrixXd gradient;
  if (target.rhs) {
    gradient = (*target.rhs)(Eigen::all, columns).cast<double>();
  } else {
    gradient = target.dense.cast<double>() * gram(Eigen::all, columns).cast<double>();
  }
  gradient.noalias() -= dense * gram(columns, columns).cast<double>();
  const Eigen::LLT<Eigen::MatrixXd> factor(h);
  if (factor.info() != Eigen::Success) detail::throw_not_positive("G + damping I");
  return (dense + factor.solve(gradient.transpose()).transpose()).cast<float>();
}

}  // namespace prune::update
