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
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include <prune/select.h>
#include <prune/update/damped_factor.h>

namespace prune::update {

struct SparsegptOptions {
  double damping = 0.01;    // > 0, relative to the mean of the Gram matrix's diagonal
  Index block = 128;        // columns that are chosen at once, rounded up to whole groups or blocks
  bool keep_zeros = false;  // weights that are 0 stay 0, and count as pruned
};

struct SparsegptResult {
  Mask mask;
  double damping = 0;  // the one used: options.damping times 10^retries
  int retries = 0;     // how often H was not positive definite in float
  double loss = 0;     // 1/2 tr((W' - W) H (W' - W)^T)
};

namespace detail {

using namespace prune::detail;

// Bits [at, at + count) of words, count <= 32; or'd into them.
inline uint32_t get_bits(const uint64_t* words, Index at, Index count) {
  uint64_t bits = words[at / 64] >> (at % 64);
  if (at % 64 + count > 64) bits |= words[at / 64 + 1] << (64 - at % 64);
  return uint32_t(bits & ((uint64_t(1) << count) - 1));
}
inline void or_bits(uint64_t* words, Index at, Index count, uint32_t bits) {
  words[at / 64] |= uint64_t(bits) << (at % 64);
  if (at % 64 + count > 64) words[at / 64 + 1] |= uint64_t(bits) >> (64 - at % 64);
}

// How many of n candidates stay in each block when `pruned` of all go: those that must go, and the same share
// of the others everywhere, exact in the sum. must_go holds those of each block, sizes its candidates.
inline std::vector<int64_t> share_out(const std::vector<int64_t>& sizes, const std::vector<int64_t>& must_go,
                                      int64_t pruned) {
  int64_t free = 0;
  int64_t more = pruned;
  for (size_t b = 0; b < sizes.size(); ++b) {
    free += sizes[b] - must_go[b];
    more -= must_go[b];
  }
  more = std::max<int64_t>(more, 0);
  std::vector<int64_t> kept;
  int64_t seen = 0;
  int64_t taken = 0;
  for (size_t b = 0; b < sizes.size(); ++b) {
    seen += sizes[b] - must_go[b];
    const int64_t taken_now = free == 0 ? 0 : more * seen / free;
    kept.push_back(sizes[b] - must_go[b] - (taken_now - taken));
    taken = taken_now;
  }
  return kept;
}

// The pass over the columns. Where the pattern is null the mask is given, else it is filled in.
class SparsegptSweep {
  static constexpr Index kPanel = 16;   // columns that are worked off one by one
  static constexpr Index kWidest = 32;  // a panel of N:M holds whole groups
  static constexpr Index kTile = 128;   // rows of a panel at a time: they stay in the first cache

 public:
  SparsegptSweep(const View<float>& weights, const DampedFactor& factor, const Pattern* pattern,
                 const SparsegptOptions& options, Mask& mask)
      : weights_(weights),
        factor_(factor),
        nm_(pattern ? std::get_if<NM>(pattern) : nullptr),
        blocks_(pattern ? std::get_if<Block>(pattern) : nullptr),
        keep_zeros_(options.keep_zeros),
        mask_(mask),
        storage_(Matrix<float>::Zero(weights.cols(), padded(weights.rows()))),
        changes_(storage_.data(), weights.cols(), weights.rows(), Eigen::OuterStride<>(storage_.cols())) {
    const Index unit = nm_ ? nm_->group : blocks_ ? blocks_->cols : 1;
    block_ = (options.block + unit - 1) / unit * unit;
    panel_ = nm_ ? std::max<Index>(1, kPanel / unit) * unit : kPanel;
    group_ = nm_ ? unit : panel_;
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
  // Rows a multiple of 4 KiB apart would share the same few lines of a cache.
  static Index padded(Index rows) { return (rows + 15) / 16 * 16 + 16; }

  template <class Choose>
  double run(Choose choose) {
    halve(0, weights_.cols(), block_, [&](Index begin, Index end) {
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
    multiply(1, Transposed{part(view(factor_.unit_upper), begin, middle, middle - begin, end - middle)},
             as_const(part(changes_, begin, 0, middle - begin, changes_.cols())), 1,
             part(changes_, middle, 0, end - middle, changes_.cols()));
    halve(middle, end, step, leaf);
  }

  // ---- The mask of a block of columns.

  bool stuck(float weight) const { return keep_zeros_ && weight == 0; }

  // Candidates that stay in each block of columns: weights, or blocks. (N:M says so itself.)
  std::vector<int64_t> share_out_blocks(double sparsity) const {
    const Index height = blocks_ ? blocks_->rows : 1;
    const Index width = blocks_ ? blocks_->cols : 1;
    std::vector<int64_t> sizes;
    std::vector<int64_t> must_go;
    int64_t all = 0;
    for (Index begin = 0; begin < weights_.cols() && !nm_; begin += block_) {
      const Index end = std::min(begin + block_, weights_.cols());
      sizes.push_back(weights_.rows() / height * ((end - begin) / width));
      must_go.push_back(keep_zeros_ ? count_zero(begin, end, height, width) : 0);
      all += sizes.back();
    }
    return share_out(sizes, must_go, all - kept_count(all, sparsity));
  }

  int64_t count_zero(Index begin, Index end, Index height, Index width) const {
    int64_t count = 0;
    for (Index i = 0; i < weights_.rows(); i += height) {
      for (Index j = begin; j < end; j += width)
        count += (weights_.block(i, j, height, width).array() == 0).all();
    }
    return count;
  }

  // What pruning each weight of the columns would cost now; -1 where it must go. What a weight is now has the
  // columns of the block before it make up for the earlier ones too: t R_bb = sums, of rows t.
  Matrix<float> costs(Index begin, Index end) const {
    Matrix<float> storage(end - begin, padded(weights_.rows()));
    auto taken_up = storage.leftCols(weights_.rows());
    taken_up = changes_.middleRows(begin, end - begin);
    const auto within = factor_.unit_upper.block(begin, begin, end - begin, end - begin);
    Matrix<float> cost(weights_.rows(), end - begin);
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (Index top = 0; top < cost.rows(); top += kTile) {
      const Index bottom = std::min(top + kTile, cost.rows());
      auto part = taken_up.middleCols(top, bottom - top);
      within.transpose().template triangularView<Eigen::UnitLower>().solveInPlace(part);
      for (Index i = top; i < bottom; ++i) {
        const float* w = weights_.data() + i * weights_.outerStride() + begin;
        for (Index j = 0; j < cost.cols(); ++j) {
          const float now = w[j] + taken_up(j, i);
          cost(i, j) = stuck(w[j]) ? -1.0f : now * now * factor_.pivots[begin + j];
        }
      }
    }
    return cost;
  }

  void choose(Index begin, Index end) {
    if (nm_) return;  // group by group, in work_off()
    const Matrix<float> cost = costs(begin, end);
    const int64_t keep = keep_[size_t(begin / block_)];
    const Mask chosen = blocks_ ? choose_blocks(cost, keep) : choose_weights(cost, keep);
    for (Index i = 0; i < cost.rows(); ++i) {
      for (Index j = begin; j < end; j += 32) {
        const Index count = std::min<Index>(32, end - j);
        or_bits(mask_.row(i).data(), j, count, get_bits(chosen.row(i).data(), j - begin, count));
      }
    }
  }

  static Mask choose_weights(const Matrix<float>& cost, int64_t keep) {
    return select_largest(ScoreKeys<float>(view(cost)), keep);
  }

  // A block costs the sum of its weights; zeros in it cost nothing, and one of zeros alone must go.
  Mask choose_blocks(const Matrix<float>& cost, int64_t keep) const {
    BlockScores sum = score::block_sum(cost, *blocks_, [](float c) { return double(std::max(c, 0.0f)); });
    const auto zeros = score::block_sum(cost, *blocks_, [](float c) { return c < 0 ? 1.0 : 0.0; });
    const double all = double(blocks_->rows) * blocks_->cols;
    sum.values = (zeros.values.array() == all).select(-1.0, sum.values);
    return expand_blocks(select_largest(ScoreKeys<double>(view(sum.values)), keep), *blocks_);
  }

  // ---- A panel of columns, one by one.

  // Some rows of a panel turned on their side: a column of the weights is contiguous, as it is in changes_.
  template <class T>
  using RowTile = Eigen::Matrix<T, kWidest, kTile, Eigen::RowMajor>;
  struct Tile {
    Index top, rows;
    double loss = 0;
    RowTile<float> weights;
    RowTile<int32_t> stays;  // -1, or 0 for those that go
  };

  // Rows know nothing of each other.
  void work_off(Index begin, Index end) {
    const Index tiles = (weights_.rows() + kTile - 1) / kTile;
    std::vector<double> losses(static_cast<size_t>(tiles));
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (Index t = 0; t < tiles; ++t) {
      Tile tile;
      tile.top = t * kTile;
      tile.rows = std::min(kTile, weights_.rows() - tile.top);
      work_off(begin, end, tile);
      losses[size_t(t)] = tile.loss;
    }
    for (const double loss : losses) loss_ += loss;  // in this order with any number of threads
  }

  void work_off(Index begin, Index end, Tile& tile) {
    auto of_weights = weights_.block(tile.top, begin, tile.rows, end - begin);
    auto of_tile = tile.weights.topLeftCorner(end - begin, tile.rows);
    of_tile = of_weights.transpose();
    if (!nm_) load_choice(begin, end, tile);
    for (Index first = begin; first < end; first += group_) {
      const Index last = std::min(first + group_, end);
      for (Index j = first; j < last; ++j) add_changes(begin, first, j, tile);
      if (nm_) choose_groups(begin, first, tile);
      for (Index j = first; j < last; ++j) {
        add_changes(first, j, j, tile);
        settle(j, j - begin, tile);
      }
    }
    of_weights = of_tile.transpose();
  }

  // The sums of column j over the columns [begin, end).
  void add_changes(Index begin, Index end, Index j, const Tile& tile) {
    auto sums = changes_.row(j).segment(tile.top, tile.rows);
    for (Index k = begin; k < end; ++k) {
      sums += factor_.unit_upper(k, j) * changes_.row(k).segment(tile.top, tile.rows);
    }
  }

  // A column whose sums are complete: what stays takes them up, what goes passes on the whole of itself.
  void settle(Index j, Index at, Tile& tile) {
    float* weight = &tile.weights(at, 0);
    const int32_t* stays = &tile.stays(at, 0);
    float* change = &changes_(j, tile.top);
    std::array<float, kTile> lost{};
    for (Index r = 0; r < tile.rows; ++r) {
      const float now = weight[r] + change[r];
      change[r] = stays[r] ? -change[r] : weight[r];
      lost[size_t(r)] = stays[r] ? 0.0f : now;
      weight[r] = stays[r] ? now : 0.0f;
    }
    const Eigen::Map<const Eigen::VectorXf> all(lost.data(), tile.rows);
    tile.loss += double(factor_.pivots[j]) * double(all.squaredNorm());
  }

  void load_choice(Index begin, Index end, Tile& tile) const {
    for (Index r = 0; r < tile.rows; ++r) {
      const uint32_t bits = get_bits(mask_.row(tile.top + r).data(), begin, end - begin);
      for (Index a = 0; a < end - begin; ++a) {
        tile.stays(a, r) = -int32_t(bits >> a & 1 & uint32_t(!stuck(tile.weights(a, r))));
      }
    }
  }

  // N:M in the group of columns that starts at `first`: the keys of all rows lie one group after another.
  void choose_groups(Index begin, Index first, Tile& tile) {
    const Index size = nm_->group;
    RowTile<float> taken_up;  // as in costs()
    std::array<int32_t, kWidest * kTile> keys;
    for (Index a = 0; a < size; ++a) {
      auto own = taken_up.row(a).head(tile.rows);
      own = changes_.row(first + a).segment(tile.top, tile.rows);
      for (Index b = 0; b < a; ++b)
        own -= factor_.unit_upper(first + b, first + a) * taken_up.row(b).head(tile.rows);
      const float* weight = &tile.weights(first - begin + a, 0);
      const float pivot = factor_.pivots[first + a];
      for (Index r = 0; r < tile.rows; ++r) {
        const float now = weight[r] + own[r];
        keys[size_t(r * size + a)] = order_key(stuck(weight[r]) ? -1.0f : now * now * pivot);
      }
    }
    std::array<uint64_t, kWidest * kTile / 64> words{};
    select_nm_row(keys.data(), tile.rows * size, *nm_, words.data());
    for (Index r = 0; r < tile.rows; ++r) {
      uint32_t bits = get_bits(words.data(), r * size, size);
      for (Index a = 0; a < size; ++a) {
        if (stuck(tile.weights(first - begin + a, r))) bits &= ~(uint32_t(1) << a);
        tile.stays(first - begin + a, r) = -int32_t(bits >> a & 1);
      }
      or_bits(mask_.row(tile.top + r).data(), first, size, bits);
    }
  }

  View<float> weights_;
  const DampedFactor& factor_;
  const NM* nm_;
  const Block* blocks_;
  bool keep_zeros_;
  Mask& mask_;
  Index block_, panel_, group_;
  std::vector<int64_t> keep_;
  // [in, out]: W - W' of the columns that are done, and of the later ones sum_k (W - W')_k R_kj so far.
  Matrix<float> storage_;
  View<float> changes_;
  double loss_ = 0;
};

// Checks the arguments, factors, and then clears the weights of inputs that were always 0.
inline DampedFactor factor_for(View<float> weights, const ConstView<float>& gram,
                               const SparsegptOptions& options) {
  if (options.block < 1)
    throw_usage("block " + std::to_string(options.block) + ": expected 1 or more columns");
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
