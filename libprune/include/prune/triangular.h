// Triangular factors and solves by halves, so that nearly all of their work is in dense products.
#pragma once

#include <Eigen/Cholesky>
#include <algorithm>

#include <prune/dense_product.h>
#include <prune/matrix.h>

namespace prune::detail {

inline constexpr Index kSmallTriangle = 64;

inline View<float> part(View<float> m, Index row, Index col, Index rows, Index cols) {
  return {m.data() + row * m.outerStride() + col, rows, cols, Eigen::OuterStride<>(m.outerStride())};
}
inline ConstView<float> part(const ConstView<float>& m, Index row, Index col, Index rows, Index cols) {
  return {m.data() + row * m.outerStride() + col, rows, cols, Eigen::OuterStride<>(m.outerStride())};
}

// Where to cut a triangle of n: at whole small ones.
inline Index middle_of(Index n) { return (n / 2 + kSmallTriangle - 1) / kSmallTriangle * kSmallTriangle; }

// V^-1 of an upper triangle; below V's diagonal may be anything, below its inverse's is 0.
inline Matrix<float> invert_small(const ConstView<float>& upper) {
  Matrix<float> inverse = Matrix<float>::Identity(upper.rows(), upper.cols());
  upper.triangularView<Eigen::Upper>().solveInPlace(inverse);
  return inverse;
}

// X := X V^-1 for V [n, n] upper triangular, X [m, n]; below V's diagonal may be anything. Small triangles
// are inverted, so that X meets products alone: a fast one runs at ten times the speed of substitution.
inline void solve_right(const ConstView<float>& upper, const View<float>& x) {
  const Index n = upper.cols();
  if (n <= kSmallTriangle) {
    const Matrix<float> inverse = invert_small(upper), start = x;
    return multiply(1, view(start), view(inverse), 0, x);
  }
  const Index half = middle_of(n);
  const View<float> first = part(x, 0, 0, x.rows(), half);
  const View<float> later = part(x, 0, half, x.rows(), n - half);
  solve_right(part(upper, 0, 0, half, half), first);
  multiply(-1, as_const(first), part(upper, 0, half, half, n - half), 1, later);
  solve_right(part(upper, half, half, n - half, n - half), later);
}

// X := X V^-T.
inline void solve_right_transposed(const ConstView<float>& upper, const View<float>& x) {
  const Index n = upper.cols();
  if (n <= kSmallTriangle) {
    const Matrix<float> inverse = invert_small(upper), start = x;
    return multiply(1, view(start), Transposed{view(inverse)}, 0, x);
  }
  const Index half = middle_of(n);
  const View<float> first = part(x, 0, 0, x.rows(), half);
  const View<float> later = part(x, 0, half, x.rows(), n - half);
  solve_right_transposed(part(upper, half, half, n - half, n - half), later);
  multiply(-1, as_const(later), Transposed{part(upper, 0, half, half, n - half)}, 1, first);
  solve_right_transposed(part(upper, 0, 0, half, half), first);
}

// C -= A A^T in the upper triangle of C [n, n]; what is below is changed too, near the diagonal.
inline void subtract_square(const ConstView<float>& a, const View<float>& c) {
  constexpr Index kSmallSquare = 256;
  const Index n = c.rows();
  if (n <= kSmallSquare) return multiply(-1, a, Transposed{a}, 1, c);
  const Index half = middle_of(n);
  const ConstView<float> first = part(a, 0, 0, half, a.cols());
  const ConstView<float> later = part(a, half, 0, n - half, a.cols());
  subtract_square(first, part(c, 0, 0, half, half));
  multiply(-1, first, Transposed{later}, 1, part(c, 0, half, half, n - half));
  subtract_square(later, part(c, half, half, n - half, n - half));
}

// Overwrites the upper triangle of a symmetric matrix with V, H = V V^T. False when it is not positive
// definite. Turned by 180 degrees an upper triangle is a lower one, and this factor the usual one.
inline bool factor_small(View<float> h) {
  const Eigen::LLT<Eigen::MatrixXf> turned(h.reverse());
  if (turned.info() != Eigen::Success) return false;
  h.triangularView<Eigen::Upper>() = Eigen::MatrixXf(turned.matrixL()).reverse();
  return true;
}

// The same for any size, in place, by halves. What is below the diagonal is changed too.
inline bool factor_upper(const View<float>& h) {
  const Index n = h.rows();
  if (n <= 2 * kSmallTriangle) return factor_small(h);
  const Index half = middle_of(n);
  const View<float> later = part(h, half, half, n - half, n - half);
  if (!factor_upper(later)) return false;
  const View<float> cross = part(h, 0, half, half, n - half);
  solve_right_transposed(as_const(later), cross);
  const View<float> first = part(h, 0, 0, half, half);
  subtract_square(as_const(cross), first);
  return factor_upper(first);
}

}  // namespace prune::detail
