#include "bench/peers/eigen_sparse.h"

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
    copies_.push_back(to_eigen(as_csr(weights)));
    while (copies_.size() < copies_for(c.n, bytes())) copies_.push_back(copies_[0]);
  }

  void take(const kernels::Batch& batch) override { run(batch); }
  // Y^T = W X^T: row-major X and Y are X^T and Y^T in column-major order, which Eigen's product likes best.
  void run(const kernels::Batch& b) override {
    using Columns = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
    using Stride = Eigen::OuterStride<>;
    const Sparse& w = copies_[next_++ % copies_.size()];
    const Eigen::Map<const Columns, 0, Stride> x(b.x, w.cols(), b.n, Stride(b.ldx));
    Eigen::Map<Columns, 0, Stride> y(b.y, w.rows(), b.n, Stride(b.ldy));
    y.noalias() = w * x;
  }
  double bytes() const override {
    return static_cast<double>(copies_[0].nonZeros()) * 8 + static_cast<double>(copies_[0].rows()) * 4;
  }
  std::string kernel(int64_t) const override { return "SparseMatrix * Matrix"; }

 private:
  std::vector<Sparse> copies_;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Product> eigen_sparse(const Case& c, const TestWeights& weights) {
  return std::make_unique<EigenProduct>(c, weights);
}

}  // namespace prune::bench
