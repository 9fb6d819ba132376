// SparseGPT: prunes column after column, and after each lets the later weights of a row make up for it.
//
// Frantar, Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
// arXiv 2301.00774.
//
// For a row with the damped Gram matrix H, let d = W - W' be what was taken from it. With H = R P R^T (R unit
// upper triangular, P diagonal) the damped error d H d^T is sum_j P_j ((d R)_j)^2. So whatever happened to
// the earlier weights, the best answer of weight j is (d R)_j = 0, d_j = -sum_{k<j} d_k R_kj; and if it goes
// instead, it costs P_j times the square of what it would have become. These are the paper's updates, solved
// for the sum of changes instead of applied one after another: no inverse of H, and the sums over k are
// products of matrices by halves of the columns.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <prune/select.h>
#include <prune/update/damped_factor.h>
#include <prune/update/sparsegpt_choice.h>
#include <prune/update/sparsegpt_tile.h>

namespace prune::update {

using SparsegptRounding = detail::StepRounding;

struct SparsegptOptions {
  double damping = 0.01;    // > 0, relative to the mean of the Gram matrix's diagonal
  Index block = 128;        // columns that are chosen at once, rounded up to whole groups or blocks
  bool keep_zeros = false;  // weights that are 0 stay 0, and count as pruned
  // With steps, weights that stay are rounded when the sweep comes to them, and later ones make up for that
  // as well (Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ", arXiv 2210.17323).
  SparsegptRounding rounding = {};
};

struct SparsegptResult {
  Mask mask;
  double damping = 0;  // the one used: options.damping times 10^retries
  int retries = 0;     // how often H was not positive definite in float
  double loss = 0;     // 1/2 tr((W' - W) H (W' - W)^T)
};

namespace detail {

// The pass over the columns. Where the pattern is null the mask is given, else it is filled in.
class SparsegptSweep {
  static constexpr Index kPanel = 16;  // columns that are worked off one by one

 public:
  SparsegptSweep(const View<float>& weights, const DampedFactor& factor, const Pattern* pattern,
                 const SparsegptOptions& options, Mask& mask)
      : nm_(pattern ? std::get_if<NM>(pattern) : nullptr),
        blocks_(pattern ? std::get_if<Block>(pattern) : nullptr),
        changes_(weights.cols(), weights.rows()),
        state_{weights, factor, changes_, mask, options.keep_zeros, options.rounding} {
    const Index unit = nm_ ? nm_->group : blocks_ ? blocks_->cols : 1;
    block_ = (options.block + unit - 1) / unit * unit;
    panel_ = nm_ ? std::max<Index>(1, kPanel / unit) * unit : kPanel;
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (Index j = 0; j < changes_.rows(); ++j) changes_.clear_row(j);
  }

  // Chooses the weights of each block of columns when the sweep comes to it; `sparsity` of all go.
  double choose_and_run(double sparsity) {
    keep_ = share_out_blocks(sparsity);
    return run([this](Index begin, Index end) { choose(begin, end); });
  }
  double run_given_mask() {
    return run([](Index, Index) {});
  }

 private:
  Index rows() const { return state_.weights.rows(); }
  Index cols() const { return state_.weights.cols(); }

  template <class Choose>
  double run(Choose choose) {
    halve(0, cols(), block_, [&](Index begin, Index end) {
      choose(begin, end);
      halve(begin, end, panel_, [&](Index first, Index last) { work_off(first, last); });
    });
    if (!std::isfinite(loss_)) throw_input("the update left the range of float: scale the weights or inputs");
    return loss_ / 2;
  }

  // Calls leaf(begin, end) for every `step` columns in order, and adds to the sums of all later ones what
  // changed in earlier ones.
  template <class Leaf>
  void halve(Index begin, Index end, Index step, const Leaf& leaf) {
    if (begin == end) return;
    if (end - begin <= step) return leaf(begin, end);
    const Index steps = (end - begin + step - 1) / step;
    const Index middle = begin + steps / 2 * step;
    halve(begin, middle, step, leaf);
    multiply(1, Transposed{factor_part(begin, middle, middle, end)}, changes_of(begin, middle), 1,
             part(changes_.view(), middle, 0, end - middle, rows()));
    halve(middle, end, step, leaf);
  }

  // R in rows [top, bottom) and columns [begin, end), and the changes of columns [begin, end).
  ConstView<float> factor_part(Index top, Index bottom, Index begin, Index end) const {
    return part(state_.factor.unit_upper.view(), top, begin, bottom - top, end - begin);
  }
  ConstView<float> changes_of(Index begin, Index end) const {
    return part(changes_.view(), begin, 0, end - begin, rows());
  }

  // Rows know nothing of each other.
  void work_off(Index begin, Index end) {
    constexpr Index kTile = SparsegptTile::kRows;
    const Index tiles = (rows() + kTile - 1) / kTile;
    std::vector<double> losses(static_cast<size_t>(tiles));
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (Index t = 0; t < tiles; ++t) {
      SparsegptTile tile(state_, t * kTile, std::min(kTile, rows() - t * kTile));
      losses[size_t(t)] = nm_ ? tile.work_off(begin, end, *nm_) : tile.work_off(begin, end);
    }
    for (const double loss : losses) loss_ += loss;  // in this order with any number of threads
  }

  // ---- The mask of a block of columns.

  // Candidates that stay in each block of columns: weights, or blocks. (N:M says so itself.)
  std::vector<int64_t> share_out_blocks(double sparsity) const {
    const Index height = blocks_ ? blocks_->rows : 1;
    const Index width = blocks_ ? blocks_->cols : 1;
    std::vector<int64_t> sizes;
    std::vector<int64_t> must_go;
    int64_t all = 0;
    for (Index begin = 0; begin < cols() && !nm_; begin += block_) {
      const Index end = std::min(begin + block_, cols());
      sizes.push_back(rows() / height * ((end - begin) / width));
      must_go.push_back(state_.keep_zeros ? count_zero(begin, end, height, width) : 0);
      all += sizes.back();
    }
    return share_out(sizes, must_go, all - kept_count(all, sparsity));
  }

  int64_t count_zero(Index begin, Index end, Index height, Index width) const {
    int64_t count = 0;
    for (Index i = 0; i < rows(); i += height) {
      for (Index j = begin; j < end; j += width)
        count += (state_.weights.block(i, j, height, width).array() == 0).all();
    }
    return count;
  }

  // What pruning each weight of the columns would cost now; -1 where it must go. What a weight is now has the
  // columns of the block before it make up for the earlier ones too: t R_bb = sums.
  void find_costs(Index begin, Index end) {
    const Matrix<float> inverse = invert_small(factor_part(begin, end, begin, end));
    cost_.resize(rows(), end - begin);
    multiply(1, Transposed{changes_of(begin, end)}, view(inverse), 0,
             view(cost_.data(), rows(), end - begin));
    const float* pivots = state_.factor.pivots.data() + begin;
    int not_numbers = 0;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) reduction(| : not_numbers)
#endif
    for (Index i = 0; i < rows(); ++i) {
      const float* w = state_.weights.data() + i * state_.weights.outerStride() + begin;
      float* c = cost_.data() + i * cost_.cols();
      for (Index j = 0; j < cost_.cols(); ++j) {
        const float now = w[j] + c[j];
        c[j] = now * now * pivots[j];
      }
      for (Index j = 0; j < cost_.cols(); ++j) not_numbers |= c[j] != c[j];
      for (Index j = 0; j < cost_.cols() && state_.keep_zeros; ++j) c[j] = w[j] == 0 ? -1 : c[j];
    }
    if (not_numbers != 0) refuse_nan(view(cost_));
  }

  void choose(Index begin, Index end) {
    if (nm_) return;  // group by group, in work_off()
    find_costs(begin, end);
    const int64_t keep = keep_[size_t(begin / block_)];
    const Mask chosen = blocks_ ? choose_blocks(keep) : CostSelection(cost_).keep_dearest(keep);
    for (Index i = 0; i < rows(); ++i) {
      for (Index j = begin; j < end; j += 32) {
        const Index count = std::min<Index>(32, end - j);
        or_bits(state_.mask.row(i).data(), j, count, get_bits(chosen.row(i).data(), j - begin, count));
      }
    }
  }

  // A block costs the sum of its weights; zeros in it cost nothing, and one of zeros alone must go.
  Mask choose_blocks(int64_t keep) const {
    BlockScores sum = score::block_sum(cost_, *blocks_, [](float c) { return double(std::max(c, 0.0f)); });
    const auto zeros = score::block_sum(cost_, *blocks_, [](float c) { return c < 0 ? 1.0 : 0.0; });
    const double all = double(blocks_->rows) * blocks_->cols;
    sum.values = (zeros.values.array() == all).select(-1.0, sum.values);
    return expand_blocks(select_largest(ScoreKeys<double>(view(sum.values)), keep), *blocks_);
  }

  const NM* nm_;
  const Block* blocks_;
  PaddedMatrix changes_;
  SparsegptState state_;
  Index block_, panel_;
  std::vector<int64_t> keep_;
  Matrix<float> cost_;  // of the block of columns that is being chosen
  double loss_ = 0;
};

// Checks the arguments, factors, and then clears the weights of inputs that were always 0.
inline DampedFactor factor_for(View<float> weights, const ConstView<float>& gram,
                               const SparsegptOptions& options) {
  if (options.block < 1)
    throw_usage("block " + std::to_string(options.block) + ": expected 1 or more columns");
  const SparsegptRounding& rounding = options.rounding;
  const Index groups = rounding.group > 0 ? (weights.cols() + rounding.group - 1) / rounding.group : 1;
  if (rounding.steps != nullptr && (rounding.group < 0 || rounding.per_row != groups))
    throw_usage("sparsegpt: the steps of rounding do not fit the weights");
  require_gram_shape(gram, weights.cols());
  require_finite(as_const(weights), "weights");
  DampedFactor factor = factor_damped(gram, options.damping);
  for (Index j = 0; j < weights.cols(); ++j) {
    if (gram(j, j) == 0) weights.col(j).setZero();
  }
  return factor;
}

}  // namespace detail

// Prunes weights W [out, in] in place to the pattern, and changes those that stay. G = sum of x x^T [in, in]
// is symmetric; only its upper triangle is read and checked. H = G + damping mean(diag G) I; see
// factor_damped() for inputs that were always 0, whose weights become 0, and for retries.
//
// Unstructured and blocks: `block` columns at a time, the weights of all rows compete by what they cost now,
// w_j^2 / [inv(H[j:, j:])]_00, blocks by the sum; every time the same share goes, and of the whole matrix
// exactly floor(n * sparsity) of n weights or blocks (all that are 0, where keep_zeros finds more). N:M: the
// N dearest of each group when the sweep comes to it; fewer where keep_zeros finds more than M - N zeros.
// Ties go to the lower row, then the lower column.
//
// Throws before it changes anything: Error(kInput) for NaN or infinity, for a Gram matrix that is none, and
// for a shape that can't take the pattern; Error(kUsage) for options, sparsity or shapes that don't fit. Only
// when values leave the range of float, Error(kInput) comes late and the weights are spoilt.
template <detail::FloatMatrix W, detail::FloatRows G>
SparsegptResult sparsegpt(W&& weights, const G& gram, const Pattern& pattern, double sparsity,
                          const SparsegptOptions& options = {}) {
  sparsity = resolve_sparsity(pattern, sparsity);
  require_fit(pattern, weights.rows(), weights.cols());
  const View<float> w = detail::mutable_view(weights);
  const DampedFactor factor = detail::factor_for(w, view(gram), options);
  SparsegptResult result{Mask(w.rows(), w.cols()), factor.damping, factor.retries, 0};
  result.loss = detail::SparsegptSweep(w, factor, &pattern, options, result.mask).choose_and_run(sparsity);
  return result;
}

// The same for a mask that is given: it is applied, and later weights of a row that stay make up for it. The
// block does not matter then; with keep_zeros weights that are 0 stay 0 where the mask keeps them.
template <detail::FloatMatrix W, detail::FloatRows G>
SparsegptResult sparsegpt(W&& weights, const G& gram, const Mask& mask,
                          const SparsegptOptions& options = {}) {
  if (mask.rows() != weights.rows() || mask.cols() != weights.cols()) {
    throw_usage("sparsegpt: mask and weights must have the same shape");
  }
  const View<float> w = detail::mutable_view(weights);
  const DampedFactor factor = detail::factor_for(w, view(gram), options);
  SparsegptResult result{mask, factor.damping, factor.retries, 0};
  result.loss = detail::SparsegptSweep(w, factor, nullptr, options, result.mask).run_given_mask();
  return result;
}

}  // namespace prune::update
