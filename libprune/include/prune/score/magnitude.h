// Magnitude pruning: a weight is worth |w|; a block its L1 or L2 norm.
//
// The oldest criterion and the baseline of all others (Han et al., "Learning both Weights and Connections for
// Efficient Neural Networks", arXiv 1506.02626).
#pragma once

#include <type_traits>

#include <prune/score/blocks.h>
#include <prune/select.h>

namespace prune {

// By which norm a block is scored. Blocks are compared by sum |w| (kL1) or sum w^2 (kL2: the order of the
// squares is that of the norms).
enum class BlockNorm { kL1, kL2 };

inline BlockNorm parse_block_norm(std::string_view text) {
  if (text == "l1") return BlockNorm::kL1;
  if (text == "l2") return BlockNorm::kL2;
  throw_usage("block norm '" + std::string(text.substr(0, 40)) + "': expected l1 or l2");
}

namespace detail {

// |w| of a matrix as keys of the weights' own width.
template <class T>
class MagnitudeKeys {
 public:
  using Key = KeyOf<T>;
  explicit MagnitudeKeys(ConstView<T> weights) : weights_(weights) {}
  Index rows() const { return weights_.rows(); }
  Index cols() const { return weights_.cols(); }
  void keys(Index i, Key* out) const {
    const T* row = weights_.data() + i * weights_.outerStride();
    Key largest = 0;
    for (Index j = 0; j < cols(); ++j) {
      out[j] = magnitude_key(row[j]);
      largest = std::max(largest, out[j]);
    }
    if (largest > FloatBits<T>::kInfinityKey) throw_nan(i, position_of_nan(out));
  }

 private:
  Index position_of_nan(const Key* keys) const {
    return std::find_if(keys, keys + cols(), [](Key k) { return k > FloatBits<T>::kInfinityKey; }) - keys;
  }
  ConstView<T> weights_;
};

}  // namespace detail

namespace score {

// |W| in float, or double for double weights. NaN stays NaN (select() refuses it), infinity stays infinity.
template <RowMajorMatrix M>
auto magnitude(const M& weights) {
  using T = typename M::Scalar;
  using Score = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const auto w = view(weights);
  Matrix<Score> scores(w.rows(), w.cols());
  for (Index i = 0; i < w.rows(); ++i) {
    const T* row = w.data() + i * w.outerStride();
    for (Index j = 0; j < w.cols(); ++j) scores(i, j) = std::abs(Score(row[j]));
  }
  return scores;
}

// One score a block: sum |w| or sum w^2 in double. Throws Error(kInput) on NaN, saying where; other errors as
// block_sum().
template <RowMajorMatrix M>
BlockScores block_magnitude(const M& weights, Block block, BlockNorm norm = BlockNorm::kL2) {
  using T = typename M::Scalar;
  detail::refuse_nan(view(weights));
  if (norm == BlockNorm::kL1) {
    return block_sum(weights, block, [](const T& w) { return std::abs(as_double(w)); });
  }
  return block_sum(weights, block, [](const T& w) { return as_double(w) * as_double(w); });
}

}  // namespace score

// select(score::magnitude(W), ...), or of block_magnitude for blocks, without storing the scores. Same
// masks, same errors.
template <RowMajorMatrix M>
Mask select_magnitude(const M& weights, const Pattern& pattern, double sparsity, Scope scope = Scope::kLayer,
                      BlockNorm norm = BlockNorm::kL2) {
  sparsity = resolve_sparsity(pattern, sparsity);
  require_fit(pattern, weights.rows(), weights.cols());
  if (const Block* block = std::get_if<Block>(&pattern)) {
    return select(score::block_magnitude(weights, *block, norm), sparsity, scope);
  }
  const detail::MagnitudeKeys<typename M::Scalar> source(view(weights));
  if (const NM* nm = std::get_if<NM>(&pattern)) {
    Mask mask(weights.rows(), weights.cols());
    detail::select_nm(source, *nm, mask);
    return mask;
  }
  return detail::select_unstructured(source, sparsity, scope);
}

}  // namespace prune
