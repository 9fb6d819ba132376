// Row-major matrices and views. A weight matrix is [out, in]; patterns run along `in`, a row.
#pragma once

#if !defined(__clang__) && (!defined(__GNUC__) || __GNUC__ < 12)
#error \
    "libprune needs clang, or GCC 12 or later: selection uses their vector types and __builtin_shufflevector"
#endif

#include <Eigen/Core>
#include <concepts>
#include <cstdint>
#include <type_traits>

#if !EIGEN_VERSION_AT_LEAST(3, 4, 0)
#error "libprune needs Eigen 3.4 or later, the first that has Eigen::bfloat16"
#endif

#include <prune/float8.h>

namespace prune {

using Index = Eigen::Index;
using bf16 = Eigen::bfloat16;
using f16 = Eigen::half;

// The types of weights and scores. Any other does not compile.
template <class T>
concept SupportedScalar = std::is_same_v<T, double> || std::is_same_v<T, float> || std::is_same_v<T, f16> ||
    std::is_same_v<T, bf16> || std::is_same_v<T, f8_e4m3> || std::is_same_v<T, f8_e5m2>;

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// A view of row-major memory that somebody else owns; rows may be further apart than `cols` (outer stride).
template <class T>
using View = Eigen::Map<Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T>
using ConstView = Eigen::Map<const Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;

// Any Eigen matrix, map or block of a supported scalar whose rows are contiguous. A column-major matrix is
// refused at compile time: Eigen would otherwise copy it silently, or the pattern would run along the wrong
// dimension.
template <class M>
concept RowMajorMatrix = requires(const M& m) {
  requires SupportedScalar<typename M::Scalar>;
  { m.data() } -> std::convertible_to<const typename M::Scalar*>;
  { m.outerStride() } -> std::convertible_to<Index>;
}
&&bool(M::IsRowMajor) && (int(M::InnerStrideAtCompileTime) == 1);

// A view must not outlive the matrix, so one of a temporary does not compile.
template <RowMajorMatrix M>
ConstView<typename M::Scalar> view(const M& m) {
  return {m.data(), m.rows(), m.cols(), Eigen::OuterStride<>(m.outerStride())};
}
template <RowMajorMatrix M>
void view(const M&&) = delete;

// A contiguous row-major array of `rows` x `cols`.
template <class T>
ConstView<T> view(const T* data, Index rows, Index cols) {
  return {data, rows, cols, Eigen::OuterStride<>(cols)};
}
template <class T>
View<T> view(T* data, Index rows, Index cols) {
  return {data, rows, cols, Eigen::OuterStride<>(cols)};
}

namespace detail {

// Rows of float, as constants and to be changed.
template <class M>
concept FloatRows = RowMajorMatrix<M> && std::is_same_v<typename M::Scalar, float>;
template <class M>
concept FloatMatrix = FloatRows<std::remove_cvref_t<M>>;

template <class M>
View<float> mutable_view(M& m) {
  return {m.data(), m.rows(), m.cols(), Eigen::OuterStride<>(m.outerStride())};
}
inline ConstView<float> as_const(const View<float>& m) {
  return {m.data(), m.rows(), m.cols(), Eigen::OuterStride<>(m.outerStride())};
}

}  // namespace detail
}  // namespace prune
