// Products of float matrices: where updates spend their time, and the one place to put a faster library
// behind them.
#pragma once

#include <atomic>

#include <prune/matrix.h>

namespace prune {

// C = alpha op(A) op(B) + beta C with C [m, n], op(A) [m, k], op(B) [k, n]. With beta == 0, C is written
// only.
struct ProductShape {
  Index m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  float alpha = 1, beta = 0;
};

// All row-major, with the distances between their rows.
using DenseProduct = void (*)(const ProductShape& shape, const float* a, Index lda, const float* b, Index ldb,
                              float* c, Index ldc);

namespace detail {

inline void eigen_product(const ProductShape& s, const float* a, Index lda, const float* b, Index ldb,
                          float* c, Index ldc) {
  const ConstView<float> left(a, s.transpose_a ? s.k : s.m, s.transpose_a ? s.m : s.k,
                              Eigen::OuterStride<>(lda));
  const ConstView<float> right(b, s.transpose_b ? s.n : s.k, s.transpose_b ? s.k : s.n,
                               Eigen::OuterStride<>(ldb));
  View<float> sum(c, s.m, s.n, Eigen::OuterStride<>(ldc));
  if (s.beta == 0)
    sum.setZero();
  else if (s.beta != 1)
    sum *= s.beta;
  if (s.transpose_a && s.transpose_b)
    sum.noalias() += s.alpha * left.transpose() * right.transpose();
  else if (s.transpose_a)
    sum.noalias() += s.alpha * left.transpose() * right;
  else if (s.transpose_b)
    sum.noalias() += s.alpha * left * right.transpose();
  else
    sum.noalias() += s.alpha * left * right;
}

inline std::atomic<DenseProduct> dense_product = eigen_product;

// op(A) op(B) times alpha, added to beta C.
struct Transposed {
  ConstView<float> matrix;
};
inline void multiply(float alpha, const ConstView<float>& a, const ConstView<float>& b, float beta,
                     View<float> c) {
  const ProductShape shape{.m = a.rows(), .n = b.cols(), .k = a.cols(), .alpha = alpha, .beta = beta};
  dense_product.load()(shape, a.data(), a.outerStride(), b.data(), b.outerStride(), c.data(),
                       c.outerStride());
}
inline void multiply(float alpha, const Transposed& a, const ConstView<float>& b, float beta, View<float> c) {
  const ProductShape shape{.m = a.matrix.cols(),
                           .n = b.cols(),
                           .k = a.matrix.rows(),
                           .transpose_a = true,
                           .alpha = alpha,
                           .beta = beta};
  dense_product.load()(shape, a.matrix.data(), a.matrix.outerStride(), b.data(), b.outerStride(), c.data(),
                       c.outerStride());
}
inline void multiply(float alpha, const ConstView<float>& a, const Transposed& b, float beta, View<float> c) {
  const ProductShape shape{
      .m = a.rows(), .n = b.matrix.rows(), .k = a.cols(), .transpose_b = true, .alpha = alpha, .beta = beta};
  dense_product.load()(shape, a.data(), a.outerStride(), b.matrix.data(), b.matrix.outerStride(), c.data(),
                       c.outerStride());
}

}  // namespace detail

// Puts another library's product behind all functions of this API, for all threads: Eigen's own is compiled
// for the least processor that the program is to run on. `product` may be called from several threads.
inline void use_dense_product(DenseProduct product) { detail::dense_product = product; }

}  // namespace prune
