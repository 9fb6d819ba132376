// How far a layer's outputs are from those wanted, from the Gram matrix of its inputs alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <prune/dense_product.h>
#include <prune/error.h>
#include <prune/finite.h>
#include <prune/matrix.h>

namespace prune {

// The outputs Y [tokens, out] that a linear layer should give on inputs X [tokens, in] with G = X^T X.
// Without `rhs` they are those of the dense weights, Y = X W^T. With it they are any others, for example
// those of the dense layer on the inputs it had before earlier layers were pruned.
struct LayerTarget {
  ConstView<float> dense;               // W [out, in]; the layer's weights before pruning
  std::optional<ConstView<float>> rhs;  // B = Y^T X [out, in]; W G when absent
  double energy = 0;                    // sum of the squares of Y; read with rhs alone
};

namespace detail {

// Rows of a layer that are worked on at a time: enough for a product with G to run at full speed, few enough
// that what is held for them is small beside the layer.
inline constexpr Index kPanelRows = 256;

inline ConstView<float> rows_of(const ConstView<float>& m, Index begin, Index count) {
  return {m.data() + begin * m.outerStride(), count, m.cols(), Eigen::OuterStride<>(m.outerStride())};
}
inline View<float> rows_of(View<float>& m, Index begin, Index count) {
  return {m.data() + begin * m.outerStride(), count, m.cols(), Eigen::OuterStride<>(m.outerStride())};
}

inline LayerTarget rows_of(const LayerTarget& target, Index begin, Index count) {
  LayerTarget part{rows_of(target.dense, begin, count), std::nullopt, target.energy};
  if (target.rhs) part.rhs.emplace(rows_of(*target.rhs, begin, count));
  return part;
}

inline std::string shape_of(const ConstView<float>& m) {
  return std::to_string(m.rows()) + " x " + std::to_string(m.cols());
}

inline void require_gram_shape(const ConstView<float>& gram, Index in) {
  if (gram.rows() == in && gram.cols() == in) return;
  throw_usage("gram: expected " + std::to_string(in) + " x " + std::to_string(in) + ", got " +
              shape_of(gram));
}

inline void require_gram_diagonal(const ConstView<float>& gram) {
  for (Index j = 0; j < gram.cols(); ++j) {
    if (gram(j, j) < 0) {
      throw_input("gram: negative at row " + std::to_string(j) + " of the diagonal; G = X^T X has none");
    }
  }
}

inline void require_gram(const ConstView<float>& gram, Index in) {
  require_gram_shape(gram, in);
  require_finite(gram, "gram");
  require_gram_diagonal(gram);
}

// For those who read nothing below the diagonal.
inline void require_upper_gram(const ConstView<float>& gram, Index in) {
  require_gram_shape(gram, in);
  require_finite_upper(gram, "gram");
  require_gram_diagonal(gram);
}

// Throws what the functions over a layer say they throw.
inline void require_layer(const ConstView<float>& weights, const ConstView<float>& gram,
                          const LayerTarget& target) {
  const auto require_shape = [&weights](const ConstView<float>& m, const char* name) {
    if (m.rows() == weights.rows() && m.cols() == weights.cols()) return;
    throw_usage(std::string(name) + ": expected " + shape_of(weights) + " as the weights, got " +
                shape_of(m));
  };
  require_shape(target.dense, "dense weights");
  if (target.rhs) require_shape(*target.rhs, "right-hand side");
  require_gram(gram, weights.cols());
  require_finite(weights, "weights");
  require_finite(target.dense, "dense weights");
  if (!target.rhs) return;
  require_finite(*target.rhs, "right-hand side");
  if (target.energy >= 0 && std::isfinite(target.energy)) return;
  throw_input("energy of the target: " + std::to_string(target.energy) +
              ", expected the sum of the squares of its outputs");
}

// sum of a_j b_j in double.
template <class A, class B>
double dot(const A& a, const B& b) {
  return a.template cast<double>().dot(b.template cast<double>());
}

// residual = B - W' G, half the negative gradient of the error, and errors[i] = the error of row i; with a
// right-hand side of the target's own it lacks the row's share of the energy. Without one the difference W -
// W' is multiplied, so that a small error is not the difference of two large products.
inline void output_residual(const ConstView<float>& weights, const ConstView<float>& gram,
                            const LayerTarget& target, Matrix<float>& residual, double* errors) {
  residual.resize(weights.rows(), weights.cols());
  if (!target.rhs) {
    const Matrix<float> difference = target.dense - weights;
    multiply(1, view(difference), gram, 0, view(residual.data(), residual.rows(), residual.cols()));
    for (Index i = 0; i < weights.rows(); ++i) errors[i] = dot(residual.row(i), difference.row(i));
    return;
  }
  residual = *target.rhs;
  multiply(-1, weights, gram, 1, view(residual.data(), residual.rows(), residual.cols()));
  for (Index i = 0; i < weights.rows(); ++i) {
    errors[i] = -dot(residual.row(i), weights.row(i)) - dot(target.rhs->row(i), weights.row(i));
  }
}

// The sum of squares of the outputs wanted.
inline double energy_of(const ConstView<float>& gram, const LayerTarget& target) {
  if (target.rhs) return target.energy;
  double energy = 0;
  Matrix<float> product;
  for (Index begin = 0; begin < target.dense.rows(); begin += kPanelRows) {
    const auto panel = rows_of(target.dense, begin, std::min(kPanelRows, target.dense.rows() - begin));
    product.resize(panel.rows(), panel.cols());
    multiply(1, panel, gram, 0, view(product.data(), product.rows(), product.cols()));
    for (Index i = 0; i < panel.rows(); ++i) energy += dot(product.row(i), panel.row(i));
  }
  return energy;
}

// An error that is a sum over rows, as a share of the energy; 0 of nothing is 0.
inline double relative_error(double row_errors, double energy, const LayerTarget& target) {
  const double sum = target.rhs ? row_errors + energy : row_errors;
  if (std::isnan(sum)) throw_input("the layer's error is beyond the range of float");
  const double error = std::max(0.0, sum);
  if (error == 0) return 0;
  return energy > 0 ? error / energy : std::numeric_limits<double>::infinity();
}

}  // namespace detail

// The relative squared error of a layer's outputs,
//
//   ||X W'^T - Y||^2 / ||Y||^2 = tr((W' - W) G (W' - W)^T) / tr(W G W^T)   for Y = X W^T,
//                              = (tr(W' G W'^T) - 2 tr(B W'^T) + energy) / energy   with a right-hand side B,
//
// for weights W' [out, in] and the full, symmetric G [in, in]. Products are of floats; they are summed in
// double. 0 when the outputs are as wanted, also where all are 0; infinity when they should be 0 and are not.
// Throws Error(kUsage) for shapes that do not fit, Error(kInput) for NaN, infinity, an energy of a target
// that is none, or a Gram matrix whose diagonal is negative somewhere.
inline double layer_error(const ConstView<float>& weights, const ConstView<float>& gram,
                          const LayerTarget& target) {
  detail::require_layer(weights, gram, target);
  double sum = 0;
  Matrix<float> residual;
  std::vector<double> errors(static_cast<size_t>(detail::kPanelRows));
  for (Index begin = 0; begin < weights.rows(); begin += detail::kPanelRows) {
    const Index rows = std::min(detail::kPanelRows, weights.rows() - begin);
    detail::output_residual(detail::rows_of(weights, begin, rows), gram, detail::rows_of(target, begin, rows),
                            residual, errors.data());
    for (Index i = 0; i < rows; ++i) sum += errors[size_t(i)];
  }
  return detail::relative_error(sum, detail::energy_of(gram, target), target);
}

// Against the dense weights.
inline double layer_error(const ConstView<float>& weights, const ConstView<float>& dense,
                          const ConstView<float>& gram) {
  return layer_error(weights, gram, LayerTarget{dense, std::nullopt, 0});
}

}  // namespace prune
