// Row-major matrices and views. A weight matrix is [out, in]; patterns run along `in`, a row.
#pragma once

#include <Eigen/Core>
#include <concepts>
#include <cstdint>

namespace prune {

using Index = Eigen::Index;
using bf16 = Eigen::bfloat16;
using f16 = Eigen::half;

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// A view of row-major memory that somebody else owns; rows may be further apart than `cols` (outer stride).
template <class T>
using View = Eigen::Map<Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T>
using ConstView = Eigen::Map<const Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;

// Any Eigen matrix, map or block whose rows are contiguous. A column-major matrix is refused at compile time:
// Eigen would otherwise copy it silently, or the pattern would run along the wrong dimension.
template <class M>
concept RowMajorMatrix = requires(const M& m) {
  typename M::Scalar;
  { m.data() } -> std::convertible_to<const typename M::Scalar*>;
  { m.outerStride() } -> std::convertible_to<Index>;
}
&&bool(M::IsRowMajor) && (int(M::InnerStrideAtCompileTime) == 1);

template <RowMajorMatrix M>
ConstView<typename M::Scalar> view(const M& m) {
  return {m.data(), m.rows(), m.cols(), Eigen::OuterStride<>(m.outerStride())};
}

// A contiguous row-major array of `rows` x `cols`.
template <class T>
ConstView<T> view(const T* data, Index rows, Index cols) {
  return {data, rows, cols, Eigen::OuterStride<>(cols)};
}
template <class T>
View<T> view(T* data, Index rows, Index cols) {
  return {data, rows, cols, Eigen::OuterStride<>(cols)};
}

}  // namespace prune
