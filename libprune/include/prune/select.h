// From scores to a mask. The only place where ties break.
//
// The larger score stays. Of equal scores the one in the lower column stays; where rows compete
// (Scope::kLayer, kGlobal), the one that comes first in row-major order. Counts are exact: of n candidates
// (weights, or blocks) n - floor(n * sparsity) stay; with N:M exactly N of every M.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <prune/mask.h>
#include <prune/pattern.h>
#include <prune/score/blocks.h>
#include <prune/select_nm.h>
#include <prune/threshold.h>

namespace prune {

// n - floor(n * sparsity), the product in double as in any other program: of 90 weights at 0.7 stay 28,
// because 90 * 0.7 is 62.99999999999999.
inline int64_t kept_count(int64_t n, double sparsity) {
  return n - int64_t(std::floor(double(n) * sparsity));
}

namespace detail {

// A matrix seen as rows of keys that are made on demand: Source has rows(), cols(), Key, and
// keys(i, buffer) which fills the cols() keys of row i and throws on NaN.

// Bits of the keys that the threshold keeps; takes its ties as it goes.
template <class Key>
void select_above(const Key* keys, Index cols, Threshold<Key>& threshold, uint64_t* words) {
  for (Index j = 0; j < cols; ++j) {
    bool stays = keys[j] > threshold.key;
    if (keys[j] == threshold.key && threshold.ties > 0) {
      stays = true;
      --threshold.ties;
    }
    words[j / 64] |= uint64_t(stays) << (j % 64);
  }
}

// The threshold that keeps `keep` of n keys in memory; reorders them.
template <class Key>
Threshold<Key> threshold_of(Key* keys, Index n, int64_t keep) {
  std::nth_element(keys, keys + (keep - 1), keys + n, std::greater<>());
  const Key key = keys[keep - 1];
  const int64_t above = std::count_if(keys, keys + keep, [key](Key k) { return k > key; });
  return {key, keep - above};
}

template <class Source>
void select_nm(const Source& source, NM pattern, Mask& mask) {
  std::vector<typename Source::Key> keys(size_t(source.cols()));
  for (Index i = 0; i < source.rows(); ++i) {
    source.keys(i, keys.data());
    select_nm_row(keys.data(), source.cols(), pattern, mask.row(i).data());
  }
}

template <class Source>
void select_per_row(const Source& source, double sparsity, Mask& mask) {
  using Key = typename Source::Key;
  const int64_t keep = kept_count(source.cols(), sparsity);
  std::vector<Key> keys(size_t(source.cols()));
  std::vector<Key> scratch(keys.size());
  for (Index i = 0; i < source.rows() && keep > 0; ++i) {
    source.keys(i, keys.data());
    scratch = keys;
    Threshold<Key> threshold = threshold_of(scratch.data(), source.cols(), keep);
    select_above(keys.data(), source.cols(), threshold, mask.row(i).data());
  }
}

// Adds all keys of a matrix to one pass of a search.
template <class Source>
void count_keys(const Source& source, ThresholdSearch<typename Source::Key>& search) {
  std::vector<typename Source::Key> keys(size_t(source.cols()));
  for (Index i = 0; i < source.rows(); ++i) {
    source.keys(i, keys.data());
    search.count(keys.data(), source.cols());
  }
}

// Takes ties from the threshold as it goes.
template <class Source>
void select_with(const Source& source, Threshold<typename Source::Key>& threshold, Mask& mask) {
  std::vector<typename Source::Key> keys(size_t(source.cols()));
  for (Index i = 0; i < source.rows(); ++i) {
    source.keys(i, keys.data());
    select_above(keys.data(), source.cols(), threshold, mask.row(i).data());
  }
}

// The `keep` largest of all matrices together; of equal ones those of the earlier matrix.
template <class Source>
void select_largest(std::span<const Source> sources, int64_t keep, std::span<Mask> masks) {
  if (keep == 0) return;
  ThresholdSearch<typename Source::Key> search(keep);
  do {
    for (const Source& source : sources) count_keys(source, search);
  } while (search.next_pass());
  auto threshold = search.result();
  for (size_t i = 0; i < sources.size(); ++i) select_with(sources[i], threshold, masks[i]);
}

// The `keep` largest of one matrix.
template <class Source>
Mask select_largest(const Source& source, int64_t keep) {
  Mask mask(source.rows(), source.cols());
  select_largest(std::span(&source, 1), keep, std::span(&mask, 1));
  return mask;
}

template <class Source>
Mask select_unstructured(const Source& source, double sparsity, Scope scope) {
  if (scope != Scope::kRow)
    return select_largest(source, kept_count(source.rows() * source.cols(), sparsity));
  Mask mask(source.rows(), source.cols());
  select_per_row(source, sparsity, mask);
  return mask;
}

// Every bit of a mask of blocks as rows x cols bits.
inline Mask expand_blocks(const Mask& blocks, Block block) {
  Mask mask(blocks.rows() * block.rows, blocks.cols() * block.cols);
  for (Index bi = 0; bi < blocks.rows(); ++bi) {
    const Index top = bi * block.rows;
    for (Index j = 0; j < mask.cols(); ++j) {
      if (blocks(bi, j / block.cols)) mask.set(top, j, true);
    }
    for (Index r = 1; r < block.rows; ++r) std::ranges::copy(mask.row(top), mask.row(top + r).begin());
  }
  return mask;
}

[[noreturn]] inline void throw_nan(Index row, Index col) {
  throw_input("NaN at row " + std::to_string(row) + ", column " + std::to_string(col));
}

template <class T>
void refuse_nan(ConstView<T> matrix) {
  for (Index i = 0; i < matrix.rows(); ++i) {
    const T* row = matrix.data() + i * matrix.outerStride();
    const T* end = row + matrix.cols();
    bool any = false;
    for (const T* w = row; w != end; ++w) any |= is_nan(*w);  // no early end: it vectorises
    if (any) throw_nan(i, std::find_if(row, end, is_nan<T>) - row);
  }
}

// Scores of either sign as keys.
template <class T>
class ScoreKeys {
 public:
  using Key = KeyOf<T>;
  explicit ScoreKeys(ConstView<T> scores) : scores_(scores) {}
  Index rows() const { return scores_.rows(); }
  Index cols() const { return scores_.cols(); }
  void keys(Index i, Key* out) const {
    const T* row = scores_.data() + i * scores_.outerStride();
    for (Index j = 0; j < cols(); ++j) {
      if (is_nan(row[j])) throw_nan(i, j);
      out[j] = order_key(row[j]);
    }
  }

 private:
  ConstView<T> scores_;
};

// One threshold for several matrices.
template <class T>
std::vector<Mask> select_together(const std::vector<ScoreKeys<T>>& sources, double sparsity) {
  int64_t candidates = 0;
  std::vector<Mask> masks;
  for (const ScoreKeys<T>& source : sources) {
    candidates += source.rows() * source.cols();
    masks.emplace_back(source.rows(), source.cols());
  }
  select_largest(std::span(sources), kept_count(candidates, sparsity), std::span(masks));
  return masks;
}

}  // namespace detail

// The mask of a weight matrix from one score a block: a mask of values.rows() * R x values.cols() * C
// weights. Throws Error(kInput) for NaN, saying which block; Error(kUsage) for a sparsity outside [0, 1) or a
// block that is none.
inline Mask select(const BlockScores& scores, double sparsity, Scope scope = Scope::kLayer) {
  resolve_sparsity(scores.block, sparsity);
  const detail::ScoreKeys<double> source(view(scores.values));
  return detail::expand_blocks(detail::select_unstructured(source, sparsity, scope), scores.block);
}

// The mask of a weight matrix from one score a weight, whatever the pattern: it has the shape of the scores.
// A block is worth the sum of its scores (another worth: make BlockScores). `sparsity` must be 1 - N/M for
// N:M. Scope::kGlobal over a single matrix is Scope::kLayer. Scores may have either sign and be infinite.
// Throws Error(kInput) for NaN, saying where, and for a shape that can't take the pattern; Error(kUsage) for
// a sparsity outside [0, 1) or against the pattern.
template <RowMajorMatrix M>
Mask select(const M& scores, const Pattern& pattern, double sparsity, Scope scope = Scope::kLayer) {
  using T = typename M::Scalar;
  sparsity = resolve_sparsity(pattern, sparsity);
  require_fit(pattern, scores.rows(), scores.cols());
  if (const Block* block = std::get_if<Block>(&pattern)) {
    detail::refuse_nan(view(scores));
    return select(score::block_sum(scores, *block, as_double<T>), sparsity, scope);
  }
  const detail::ScoreKeys<T> source(view(scores));
  if (const NM* nm = std::get_if<NM>(&pattern)) {
    Mask mask(scores.rows(), scores.cols());
    detail::select_nm(source, *nm, mask);
    return mask;
  }
  return detail::select_unstructured(source, sparsity, scope);
}

// The masks of several matrices that share one sparsity, in their order: Scope::kGlobal. Of the n weights of
// all, n - floor(n * sparsity) stay; of equal scores the one in the earlier matrix. Throws as select().
template <class T>
std::vector<Mask> select_global(const std::vector<ConstView<T>>& scores, double sparsity) {
  resolve_sparsity(Unstructured{}, sparsity);
  return detail::select_together(std::vector<detail::ScoreKeys<T>>(scores.begin(), scores.end()), sparsity);
}

// The same for blocks, which must all be of one size: n counts blocks.
inline std::vector<Mask> select_global(const std::vector<BlockScores>& scores, double sparsity) {
  std::vector<detail::ScoreKeys<double>> sources;
  for (const BlockScores& matrix : scores) {
    resolve_sparsity(matrix.block, sparsity);
    if (matrix.block != scores.front().block) throw_usage("global selection: blocks of different sizes");
    sources.emplace_back(view(matrix.values));
  }
  std::vector<Mask> masks = detail::select_together(sources, sparsity);
  for (size_t i = 0; i < masks.size(); ++i) masks[i] = detail::expand_blocks(masks[i], scores[i].block);
  return masks;
}

}  // namespace prune
