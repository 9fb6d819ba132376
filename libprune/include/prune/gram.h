// What calibration remembers of a layer's inputs: their second moments.
#pragma once

#include <algorithm>
#include <string>

#include <prune/error.h>
#include <prune/finite.h>
#include <prune/matrix.h>

namespace prune {

namespace detail {

// A batch of inputs [n, in] as it may be added to an accumulator of `inputs` columns.
inline void require_batch(const ConstView<float>& x, Index inputs) {
  if (x.cols() != inputs) {
    throw_usage("a batch of inputs has " + std::to_string(x.cols()) + " columns, expected " +
                std::to_string(inputs));
  }
  require_finite(x, "inputs");
}

inline void require_tokens(int64_t tokens) {
  if (tokens == 0) throw_input("no inputs were added: calibration needs at least one token");
}

// Copies the upper triangle of a square matrix to the lower one, by tiles: down a column of a large matrix
// every element is a cache miss.
inline void mirror_upper(Matrix<float>& m) {
  constexpr Index kTile = 32;
  for (Index i = 0; i < m.rows(); i += kTile) {
    const Index rows = std::min(kTile, m.rows() - i);
    for (Index j = 0; j < i; j += kTile) m.block(i, j, rows, kTile) = m.block(j, i, kTile, rows).transpose();
    auto corner = m.block(i, i, rows, rows);
    corner.triangularView<Eigen::StrictlyLower>() = corner.transpose();
  }
}

}  // namespace detail

// G = sum over tokens of x x^T, float [in, in]: all that the output error of a layer depends on,
// ||X (W' - W)^T||^2 = tr((W' - W) G (W' - W)^T).
class Gram {
 public:
  explicit Gram(Index inputs) : sums_(Matrix<float>::Zero(inputs, inputs)) {}

  // x [n, in], a row a token; n may be 0. Throws Error(kInput) for NaN or infinity, saying where, and
  // Error(kUsage) for another number of columns; then nothing was added.
  template <detail::FloatRows M>
  void add(const M& x) {
    const ConstView<float> batch = view(x);
    detail::require_batch(batch, sums_.rows());
    if (batch.rows() == 0) return;
    sums_.selfadjointView<Eigen::Upper>().rankUpdate(batch.transpose());
    tokens_ += batch.rows();
  }

  int64_t tokens() const { return tokens_; }

  // The full symmetric matrix; more may be added afterwards. Not const, since it fills in the lower triangle:
  // a copy of a large one would be the most memory that a pass needs. Throws Error(kInput) without tokens.
  const Matrix<float>& matrix() {
    detail::require_tokens(tokens_);
    detail::mirror_upper(sums_);
    return sums_;
  }

  // mean over tokens of x_j^2, [in]. Throws Error(kInput) without tokens.
  Eigen::VectorXd mean_square() const {
    detail::require_tokens(tokens_);
    return sums_.diagonal().cast<double>() / double(tokens_);
  }

 private:
  Matrix<float> sums_;  // of which the upper triangle counts
  int64_t tokens_ = 0;
};

// The diagonal of a Gram matrix alone, in double: for methods that score by the size of each input.
class ColumnNorms {
 public:
  explicit ColumnNorms(Index inputs) : sums_(Eigen::VectorXd::Zero(inputs)) {}

  // As Gram::add().
  template <detail::FloatRows M>
  void add(const M& x) {
    const ConstView<float> batch = view(x);
    detail::require_batch(batch, sums_.size());
    for (Index i = 0; i < batch.rows(); ++i) sums_ += batch.row(i).transpose().cast<double>().cwiseAbs2();
    tokens_ += batch.rows();
  }

  int64_t tokens() const { return tokens_; }

  // mean over tokens of x_j^2, [in]. Throws Error(kInput) without tokens.
  Eigen::VectorXd mean_square() const {
    detail::require_tokens(tokens_);
    return sums_ / double(tokens_);
  }

 private:
  Eigen::VectorXd sums_;
  int64_t tokens_ = 0;
};

}  // namespace prune
