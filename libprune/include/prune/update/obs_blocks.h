// Which blocks to prune when the rest of the layer makes up for them.
#pragma once

#include <exception>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include <prune/select.h>
#include <prune/update/refit.h>

namespace prune::update {
namespace detail {

// The rows of a band of blocks share one support, and with it one inverse of H: blocks are removed from it
// one by one, and the rest of the band is at its least squares all the while.
class BandElimination {
 public:
  // `weights` [R, in] and `inverse` [in, in] in the scaling of ScaledGram.
  BandElimination(Eigen::MatrixXd weights, const Eigen::MatrixXd& inverse, Index width)
      : weights_(std::move(weights)),
        inverse_(inverse),
        width_(width),
        blocks_(size_t(inverse.cols() / width)) {
    std::iota(blocks_.begin(), blocks_.end(), Index(0));
  }

  // Removes the block whose loss the others can least notice. Returns its column and that loss.
  std::pair<Index, double> remove_one() {
    size_t least = 0;
    double least_loss = std::numeric_limits<double>::infinity();
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const double loss = loss_of(Index(b) * width_);
      if (loss < least_loss || (loss == least_loss && blocks_[b] > blocks_[least])) {
        least = b;
        least_loss = loss;
      }
    }
    const Index column = blocks_[least];
    eliminate(Index(least));
    return {column, least_loss};
  }

 private:
  Eigen::LLT<Eigen::MatrixXd> factor_of(Index at) const {
    Eigen::LLT<Eigen::MatrixXd> factor(inverse_.block(at, at, width_, width_));
    if (factor.info() != Eigen::Success) throw_not_positive("G + damping I");
    return factor;
  }

  // tr(W_C [(H^-1)_CC]^-1 W_C^T)
  double loss_of(Index at) const {
    return factor_of(at).matrixL().solve(weights_.middleCols(at, width_).transpose()).squaredNorm();
  }

  // Block `index` changes places with the last one, which is then eliminated from the inverse and the
  // weights.
  void eliminate(Index index) {
    const Index rest = Index(blocks_.size() - 1) * width_;
    if (const Index at = index * width_; at != rest) {
      weights_.middleCols(at, width_).swap(weights_.middleCols(rest, width_));
      inverse_.middleCols(at, width_).swap(inverse_.middleCols(rest, width_));
      inverse_.middleRows(at, width_).swap(inverse_.middleRows(rest, width_));
      std::swap(blocks_[size_t(index)], blocks_.back());
    }
    blocks_.pop_back();
    if (rest == 0) return;
    const Eigen::MatrixXd side = inverse_.block(0, rest, rest, width_);
    const Eigen::MatrixXd moved = factor_of(rest).solve(side.transpose());
    weights_.leftCols(rest).noalias() -= weights_.middleCols(rest, width_) * moved;
    inverse_.topLeftCorner(rest, rest).noalias() -= side * moved;
  }

  Eigen::MatrixXd weights_;
  Eigen::MatrixXd inverse_;
  Index width_;
  std::vector<Index> blocks_;  // original column of the block in each place
};

// What the layer loses as each block goes, when each band gives up one block after another until none is
// left: the last ones cost little time, and one band may be worth far less than another.
inline BlockScores losses_of_blocks(const Matrix<float>& start, const ScaledGram& scaled, Block block) {
  const Eigen::LLT<Eigen::MatrixXd> factor(scaled.matrix.cast<double>());
  if (factor.info() != Eigen::Success) throw_not_positive("G + damping I");
  const Eigen::MatrixXd inverse = factor.solve(Eigen::MatrixXd::Identity(start.cols(), start.cols()));
  const Eigen::RowVectorXd unscale =
      (scaled.scale.array() > 0).select(scaled.scale.array().inverse(), 0).matrix().cast<double>();
  BlockScores losses{block, Matrix<double>(start.rows() / block.rows, start.cols() / block.cols)};
  const auto eliminate_band = [&](Index band) {
    BandElimination elimination(
        start.middleRows(band * block.rows, block.rows).cast<double>().array().rowwise() * unscale.array(),
        inverse, block.cols);
    double least = -1;
    for (Index k = 0; k < losses.values.cols(); ++k) {
      const auto [column, loss] = elimination.remove_one();
      // A band gives up a block only after those that went before it.
      least = std::max(loss, std::nextafter(least, std::numeric_limits<double>::infinity()));
      losses.values(band, column) = least;
    }
  };
  std::exception_ptr fault;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic)
#endif
  for (Index band = 0; band < losses.values.rows(); ++band) {
    try {
      eliminate_band(band);
    } catch (...) {
#ifdef _OPENMP
#pragma omp critical(prune_obs_blocks)
#endif
      fault = std::current_exception();
    }
  }
  if (fault) std::rethrow_exception(fault);
  return losses;
}

}  // namespace detail

// The mask of blocks R x C under which least squares loses little: in every band of R rows the block goes
// whose
//
//   tr(W_C [(H^-1)_CC]^-1 W_C^T),   H = G + damping mean(diag G) I over the columns left,
//
// is least, the increase of tr((W' - W) H (W' - W)^T) once all others are refitted; they are, and the next
// one goes. The layer takes the least losses of all bands, n - floor(n sparsity) of n blocks stay; a band
// may lose all of its own. For the weights call refit(). Throws as layer_error() and select(); Error(kInput)
// where the damped Gram matrix has no Cholesky factor.
//
// In doubles, about 2/3 in^3 operations a band: seconds a layer at in = 1024, many minutes at
// 4096. Method: Optimal Brain Surgeon for groups (Hassibi and Stork, 1993; Kurtic et al., ZipLM, arXiv
// 2302.04089).
inline Mask obs_blocks(const ConstView<float>& gram, const LayerTarget& target, Block block, double sparsity,
                       double damping = 1e-3) {
  const Index out = target.dense.rows();
  const Index in = target.dense.cols();
  require_fit(block, out, in);
  sparsity = resolve_sparsity(block, sparsity);
  prune::detail::require_layer(target.dense, gram, target);
  Matrix<float> start = target.dense;
  if (target.rhs) {  // the best dense weights are others
    Mask all(out, in);
    for (Index i = 0; i < out; ++i) {
      for (Index j = 0; j < in; ++j) all.set(i, j, true);
    }
    refit(view(start.data(), out, in), all, gram, target, {damping, 100});
  }
  const detail::ScaledGram scaled(gram, damping);
  return select(detail::losses_of_blocks(start, scaled, block), sparsity);
}

}  // namespace prune::update
