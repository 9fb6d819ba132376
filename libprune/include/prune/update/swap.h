// A better mask from a given one: kept weights change places with pruned ones while the layer's error falls.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <prune/pattern.h>
#include <prune/triangular.h>
#include <prune/update/refit.h>

namespace prune::update {

struct SwapOptions {
  double damping = 1e-3;    // added to G's diagonal, as a share of its mean
  int max_rounds = 10;      // of proposals to all rows; each costs about ten products with G
  bool keep_zeros = false;  // weights that are 0 in the dense ones are not revived
};

struct SwapResult {
  double error_before = 0;  // layer_error() of the weights given, pruned ones at 0
  double error_after = 0;   // not above error_before, but for the rounding of sums
  int64_t swaps = 0;        // pairs of weights that changed places
};

namespace detail {

// What swaps are worth, to first order. With the rest refitted, pruning a weight w_p of all costs
// w_p^2 / [H^-1]_pp (OBS), and reviving one gains r_q^2 / H_qq or more, r = B - W' H.
struct SwapValues {
  Damping damping;
  Eigen::RowVectorXf cost;  // 1 / [H^-1]_jj; 0 for a dead input

  SwapValues(const ConstView<float>& gram, double share) : damping(gram, share), cost(gram.cols()) {
    const ScaledGram scaled(gram, share);
    Matrix<float> factor = scaled.matrix;
    const View<float> upper = view(factor.data(), factor.rows(), factor.cols());
    if (!prune::detail::factor_upper(upper)) throw_not_positive("G + damping I");
    Matrix<float> inverse = Matrix<float>::Identity(gram.rows(), gram.cols());
    prune::detail::solve_right(prune::detail::as_const(upper),
                               view(inverse.data(), inverse.rows(), inverse.cols()));
    // [H^-1]_jj is the square of column j of V^-1, H = V V^T.
    const Eigen::RowVectorXf squares = inverse.colwise().squaredNorm();
    for (Index j = 0; j < gram.cols(); ++j) {
      const float scale = scaled.scale[j];
      cost[j] = scale > 0 ? 1 / (scale * scale * squares[j]) : 0;
    }
  }
};

struct SwapPair {
  float worth;  // larger is tried first
  Index prune;
  Index revive;
};

// The first `count` in order of `before`, which has no ties.
template <class T, class Less>
void keep_first(std::vector<T>& list, size_t count, const Less& before) {
  count = std::min(count, list.size());
  std::partial_sort(list.begin(), list.begin() + std::ptrdiff_t(count), list.end(), before);
  list.resize(count);
}

// The cheapest kept weights of the row with the most promising pruned ones, as far as that promises anything:
// at most `share` of the kept.
inline std::vector<SwapPair> pairs_of_row(const Eigen::RowVectorXf& loss, const Eigen::RowVectorXf& gain,
                                          const Mask& mask, Index row, double share) {
  using Candidate = std::pair<float, Index>;
  std::vector<Candidate> kept;
  std::vector<Candidate> pruned;  // gains negated: both lists ascend
  for (Index j = 0; j < mask.cols(); ++j) {
    if (mask(row, j))
      kept.emplace_back(loss[j], j);
    else if (gain[j] > 0)
      pruned.emplace_back(-gain[j], j);
  }
  const size_t count =
      std::min({kept.size(), pruned.size(), size_t(std::max(1.0, share * double(kept.size())))});
  keep_first(kept, count, std::less<>());
  keep_first(pruned, count, std::less<>());
  std::vector<SwapPair> pairs;
  for (size_t k = 0; k < count; ++k) {
    // The gain is a lower bound, the loss is not: half of it is worth trying.
    if (k > 0 && -pruned[k].first < 0.5f * kept[k].first) break;
    pairs.push_back({0, kept[k].second, pruned[k].second});
  }
  return pairs;
}

// In each group of the row the cheapest kept weight with the most promising pruned one; of the groups the
// most promising, at most `share`.
inline std::vector<SwapPair> pairs_of_groups(const Eigen::RowVectorXf& loss, const Eigen::RowVectorXf& gain,
                                             const Mask& mask, Index row, Index group, double share) {
  const Index groups = mask.cols() / group;
  std::vector<SwapPair> pairs;
  for (Index begin = 0; begin < mask.cols(); begin += group) {
    Index prune = -1;
    Index revive = -1;
    for (Index j = begin; j < begin + group; ++j) {
      if (mask(row, j)) {
        if (prune < 0 || loss[j] < loss[prune]) prune = j;
      } else if (gain[j] > 0 && (revive < 0 || gain[j] > gain[revive])) {
        revive = j;
      }
    }
    if (prune >= 0 && revive >= 0) pairs.push_back({gain[revive] / (loss[prune] + 1e-30f), prune, revive});
  }
  keep_first(pairs, size_t(std::max(1.0, share * double(groups))), [](const SwapPair& a, const SwapPair& b) {
    return a.worth != b.worth ? a.worth > b.worth : a.prune < b.prune;
  });
  return pairs;
}

// The rows of one panel. A round proposes swaps to every row still at work, refits, and takes back what did
// not lower the row's error; such a row is offered half as many next time.
class PanelSwapper {
 public:
  PanelSwapper(const View<float>& weights, Mask& mask, Index mask_begin, const ConstView<float>& gram,
               const LayerTarget& target, const SwapValues& values, const Pattern& pattern, bool keep_zeros)
      : weights_(weights),
        mask_(mask),
        mask_begin_(mask_begin),
        gram_(gram),
        target_(target),
        values_(values),
        group_(std::holds_alternative<NM>(pattern) ? std::get<NM>(pattern).group : 0),
        keeps_zeros_(keep_zeros) {
    for (Index i = 0; i < weights_.rows(); ++i) rows_.push_back({i, kFirstShare, 0});
  }

  void round() {
    const Index count = Index(rows_.size());
    if (count == 0) return;
    gather();
    prune::detail::output_residual(view(trial_), gram_, trial_target(), residual_, before_.data());
    residual_ += values_.damping.lambda * (dense_ - trial_);
    trial_mask_ = Mask(count, weights_.cols());
    for (Index i = 0; i < count; ++i) rows_[size_t(i)].proposed = propose(i);
    after_.resize(size_t(count));
    refit_panel(view(trial_.data(), count, trial_.cols()), trial_mask_, 0, gram_, trial_target(),
                values_.damping, kRefitSteps, after_.data());
    settle();
  }

  int64_t swaps() const { return swaps_; }

 private:
  static constexpr double kFirstShare = 0.1;
  static constexpr int kRefitSteps = 8;

  struct Row {
    Index index;
    double share;
    int64_t proposed;
  };

  void gather() {
    const Index count = Index(rows_.size());
    trial_.resize(count, weights_.cols());
    dense_.resize(count, weights_.cols());
    if (target_.rhs) rhs_.resize(count, weights_.cols());
    for (Index i = 0; i < count; ++i) {
      const Index from = rows_[size_t(i)].index;
      trial_.row(i) = weights_.row(from);
      dense_.row(i) = target_.dense.row(from);
      if (target_.rhs) rhs_.row(i) = target_.rhs->row(from);
    }
    before_.resize(size_t(count));
  }

  LayerTarget trial_target() const {
    LayerTarget target{view(dense_), std::nullopt, 0};
    if (target_.rhs) target.rhs.emplace(view(rhs_));
    return target;
  }

  int64_t propose(Index i) {
    const Row& row = rows_[size_t(i)];
    const Index mask_row = mask_begin_ + row.index;
    const Eigen::RowVectorXf loss = trial_.row(i).array().square() * values_.cost.array();
    Eigen::RowVectorXf gain = residual_.row(i).array().square() * values_.damping.inverse_diagonal.array();
    if (keeps_zeros_) gain = (dense_.row(i).array() != 0).select(gain, 0);
    const std::vector<SwapPair> pairs = group_ > 0
                                            ? pairs_of_groups(loss, gain, mask_, mask_row, group_, row.share)
                                            : pairs_of_row(loss, gain, mask_, mask_row, row.share);
    std::ranges::copy(mask_.row(mask_row), trial_mask_.row(i).begin());
    for (const SwapPair& pair : pairs) {
      trial_mask_.set(i, pair.prune, false);
      trial_mask_.set(i, pair.revive, true);
    }
    return int64_t(pairs.size());
  }

  void settle() {
    std::vector<Row> going_on;
    for (size_t i = 0; i < rows_.size(); ++i) {
      Row row = rows_[i];
      if (after_[i] < before_[i]) {
        weights_.row(row.index) = trial_.row(Index(i));
        std::ranges::copy(trial_mask_.row(Index(i)), mask_.row(mask_begin_ + row.index).begin());
        swaps_ += row.proposed;
      } else if (row.proposed <= 1) {
        continue;
      } else {
        row.share /= 2;
      }
      going_on.push_back(row);
    }
    rows_ = std::move(going_on);
  }

  View<float> weights_;
  Mask& mask_;
  Index mask_begin_;
  ConstView<float> gram_;
  LayerTarget target_;
  const SwapValues& values_;
  Index group_;
  bool keeps_zeros_;
  std::vector<Row> rows_;
  Matrix<float> trial_;
  Matrix<float> dense_;
  Matrix<float> rhs_;
  Matrix<float> residual_;
  Mask trial_mask_;
  std::vector<double> before_;
  std::vector<double> after_;
  int64_t swaps_ = 0;
};

}  // namespace detail

// Exchanges kept and pruned weights within each row of an unstructured mask, or within each group of an N:M
// one, and refits, so that the error falls; `weights` [out, in] and `mask` are changed together. Each row
// keeps as many weights as it had, each group too, and a row is changed only where its error, as
// layer_error() measures it, is lower afterwards. Starts best from refitted weights; refit() afterwards takes
// the rest. `weights` and the dense weights must not be the same memory. Throws as refit(); Error(kUsage) for
// blocks, whose masks obs_blocks() leaves nothing to improve; Error(kInput) where the damped Gram matrix has
// no Cholesky factor.
//
// Method: the pairs come from the estimates of Optimal Brain Surgeon (Hassibi and Stork, 1993), a share of
// the row at once; whether they were right is measured. Exchanging one best pair after another at fixed
// values of the others stops far earlier, because it does not see what refitting is worth.
inline SwapResult swap(View<float> weights, Mask& mask, const ConstView<float>& gram,
                       const LayerTarget& target, const Pattern& pattern, const SwapOptions& options = {}) {
  prune::detail::require_layer(prune::detail::as_const(weights), gram, target);
  detail::require_mask(prune::detail::as_const(weights), mask);
  require_fit(pattern, weights.rows(), weights.cols());
  if (std::holds_alternative<Block>(pattern)) throw_usage("swap: expected unstructured or N:M, got blocks");
  const detail::SwapValues values(gram, options.damping);
  apply(mask, weights);
  SwapResult result;
  result.error_before = layer_error(prune::detail::as_const(weights), gram, target);
  for (Index begin = 0; begin < weights.rows(); begin += detail::kPanelRows) {
    const Index rows = std::min(detail::kPanelRows, weights.rows() - begin);
    detail::PanelSwapper panel(detail::rows_of(weights, begin, rows), mask, begin, gram,
                               detail::rows_of(target, begin, rows), values, pattern, options.keep_zeros);
    for (int round = 0; round < options.max_rounds; ++round) panel.round();
    result.swaps += panel.swaps();
  }
  result.error_after = layer_error(prune::detail::as_const(weights), gram, target);
  return result;
}

}  // namespace prune::update
