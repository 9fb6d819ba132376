#include "bench/peers/eigen_sparse.h"

#include <Eigen/Sparse>

namespace prune::bench {

struct EigenSparse::State {
  Eigen::SparseMatrix<float, Eigen::RowMajor, int> w;
};

EigenSparse::EigenSparse(const kernels::CsrWeights& weights) : state_(new State) {
  auto& w = state_->w;
  w.resize(weights.rows, weights.cols);
  w.resizeNonZeros(weights.indptr[weights.rows]);
  std::copy(weights.indptr, weights.indptr + weights.rows + 1, w.outerIndexPtr());
  std::copy(weights.indices, weights.indices + w.nonZeros(), w.innerIndexPtr());
  std::copy_n(static_cast<const float*>(weights.values), w.nonZeros(), w.valuePtr());
}

EigenSparse::~EigenSparse() = default;

size_t EigenSparse::bytes() const {
  return static_cast<size_t>(state_->w.nonZeros()) * 8 + state_->w.rows() * 4;
}

// Y^T = W X^T: row-major X and Y are X^T and Y^T in column-major order, which Eigen's product likes best.
void EigenSparse::run(const kernels::Batch& b) const {
  using Columns = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
  const Eigen::Map<const Columns, 0, Eigen::OuterStride<>> x(b.x, state_->w.cols(), b.n,
                                                             Eigen::OuterStride<>(b.ldx));
  Eigen::Map<Columns, 0, Eigen::OuterStride<>> y(b.y, state_->w.rows(), b.n, Eigen::OuterStride<>(b.ldy));
  y.noalias() = state_->w * x;
}

}  // namespace prune::bench
