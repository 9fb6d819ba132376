#include "bench/peers/eigen_sparse.h"

#include "bench/peers/best_of.h"

#include <vector>

#include <Eigen/Sparse>

namespace prune::bench {
namespace {

using Sparse = Eigen::SparseMatrix<float, Eigen::RowMajor, int>;

Sparse to_eigen(const kernels::CsrWeights& weights) {
  Sparse w(weights.rows, weights.cols);
  w.resizeNonZeros(weights.indptr[weights.rows]);
  std::copy(weights.indptr, weights.indptr + weights.rows + 1, w.outerIndexPtr());
  std::copy(weights.indices, weights.indices + w.nonZeros(), w.innerIndexPtr());
  std::copy_n(static_cast<const float*>(weights.values), w.nonZeros(), w.valuePtr());
  return w;
}

class EigenProduct final : public Product {
 public:
  EigenProduct(const Case& c, const TestWeights& weights) {
    copies_.push_back(to_eigen(as_csr(weights).view));
    while (copies_.size() < copies_for(c.n, bytes())) copies_.push_back(copies_[0]);
  }

  // X^T in rows, which Eigen needs to go along them, is made beforehand, as other peers' inputs are.
  void take(const kernels::Batch& batch) override {
    xt_ = Columns(batch.x, copies_[0].cols(), batch.n, Stride(batch.ldx));
    yt_.resize(copies_[0].rows(), batch.n);
    by_rows_ = fastest(2, 3, [&](size_t by_rows) { multiply(batch, by_rows == 1); }) == 1;
  }
  void run(const kernels::Batch& batch) override { multiply(batch, by_rows_); }
  double bytes() const override {
    return static_cast<double>(copies_[0].nonZeros()) * 8 + static_cast<double>(copies_[0].rows()) * 4;
  }
  std::string kernel(int64_t) const override { return "SparseMatrix * Matrix"; }

 private:
  using ColumnMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<>;
  using Columns = Eigen::Map<const ColumnMajor, 0, Stride>;

  // Y^T = W X^T, either of matrices by rows, along which Eigen adds, or of X and Y as they lie, which are X^T
  // and Y^T by columns.
  void multiply(const kernels::Batch& b, bool by_rows) {
    const Sparse& w = copies_[next_++ % copies_.size()];
    Eigen::Map<ColumnMajor, 0, Stride> y(b.y, w.rows(), b.n, Stride(b.ldy));
    if (by_rows) {
      yt_.noalias() = w * xt_;
      y = yt_;
    } else {
      y.noalias() = w * Columns(b.x, w.cols(), b.n, Stride(b.ldx));
    }
  }

  std::vector<Sparse> copies_;
  RowMajor xt_, yt_;
  bool by_rows_ = false;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Product> eigen_sparse(const Case& c, const TestWeights& weights) {
  return std::make_unique<EigenProduct>(c, weights);
}

}  // namespace prune::bench
