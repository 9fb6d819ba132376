#include "libprune/model/structured/projection.h"

#include <numeric>
#include <vector>

#include <prune/layer_error.h>
#include <prune/score/columns.h>
#include <prune/update/obs_columns.h>

#include "libprune/model/gemm.h"
#include "libprune/model/structured/norm_cut.h"

namespace prune {
namespace {

// [W, b] as [out, in + fixed].
Matrix<float> with_bias(const Linear& linear, Index fixed) {
  Matrix<float> weights(linear.out, linear.in + fixed);
  weights.leftCols(linear.in) = view(linear.weight.data(), linear.out, linear.in);
  for (Index i = 0; fixed > 0 && i < linear.out; ++i) weights(i, linear.in) = linear.bias[size_t(i)];
  return weights;
}

// sum = W M + share sum.
void add_product(const Matrix<float>& weights, const ConstView<float>& moments, double share,
                 Matrix<float>& sum) {
  gemm({.m = weights.rows(), .n = moments.cols(), .k = moments.rows(), .beta = float(share)}, weights.data(),
       weights.cols(), moments.data(), moments.cols(), sum.data(), sum.cols());
}

// The layer's problem with all that it refers to.
struct Problem {
  Matrix<float> weights, rhs;
  LayerTarget target;

  Problem(const Linear& projection, const ProjectionMoments& moments, double follow)
      : weights(with_bias(projection, moments.fixed())), target{view(weights), std::nullopt, 0} {
    if (follow == 0 || moments.correction().size() == 0) return;
    rhs = moments.correction();
    add_product(weights, moments.gram(), follow, rhs);  // W G + follow C
    target.rhs.emplace(view(rhs));
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;
};

}  // namespace

ProjectionMoments::ProjectionMoments(const Linear& projection, bool is_corrected)
    : inputs_(projection.in), fixed_(projection.bias.empty() ? 0 : 1), moments_(inputs_ + fixed_, false) {
  if (is_corrected) correction_ = Matrix<float>::Zero(projection.out, inputs_ + fixed_);
}

void ProjectionMoments::add(const float* x, const float* correction, int64_t n, const float* weights) {
  if (fixed_ > 0 || weights != nullptr) {
    extended_.resize(n, inputs_ + fixed_);
    extended_.leftCols(inputs_) = view(x, n, inputs_);
    if (fixed_ > 0) extended_.rightCols(fixed_).setOnes();
    for (int64_t i = 0; weights != nullptr && i < n; ++i) extended_.row(i) *= weights[i];
    x = extended_.data();
  }
  moments_.add(x, n);
  if (correction == nullptr || n == 0) return;
  const Index out = correction_.rows(), in = inputs_ + fixed_;
  gemm({.m = out, .n = in, .k = n, .transpose_a = Transpose::kYes, .beta = 1}, correction, out, x, in,
       correction_.data(), in);
}

Units choose_groups(const Linear& projection, const ProjectionMoments& moments, const ProjectionTask& task) {
  const Problem problem(projection, moments, task.follow);
  if (task.method.score == UnitScore::kLoss) {
    const std::vector<Index> kept =
        update::obs_columns(moments.gram(), problem.target, task.keep,
                            {.damping = task.damping, .width = task.group, .fixed = moments.fixed()});
    return {kept.begin(), kept.end()};
  }
  const Index in = projection.in;
  const ConstView<float> weights = view(projection.weight.data(), projection.out, in);
  const ConstView<float> gram(moments.gram().data(), in, in,
                              Eigen::OuterStride<>(moments.gram().outerStride()));
  return largest(score::column_energy(weights, gram, task.group), task.keep);
}

void refit(Linear& projection, const ProjectionMoments& moments, const Units& columns,
           const ProjectionTask& task) {
  const Problem problem(projection, moments, task.follow);
  std::vector<Index> kept(columns.begin(), columns.end());
  for (Index i = 0; i < moments.fixed(); ++i) kept.push_back(projection.in + i);
  const Matrix<float> weights = update::refit_columns(moments.gram(), problem.target, kept, task.damping);
  projection.in = int64_t(columns.size());
  projection.weight.resize(projection.out, projection.in);
  view(projection.weight.data(), projection.out, projection.in) = weights.leftCols(projection.in);
  for (Index i = 0; moments.fixed() > 0 && i < projection.out; ++i)
    projection.bias[size_t(i)] = weights(i, projection.in);
}

void refit_reader(Linear& reader, const ConstView<float>& gram, const Matrix<float>& wanted, double damping) {
  const Matrix<float> dense = with_bias(reader, 0);
  Matrix<float> rhs(dense.rows(), dense.cols());
  add_product(dense, view(wanted), 0, rhs);
  std::vector<Index> all(size_t(dense.cols()));
  std::iota(all.begin(), all.end(), Index(0));
  view(reader.weight.data(), reader.out, reader.in) =
      update::refit_columns(gram, {.dense = view(dense), .rhs = view(rhs)}, all, damping);
}

double projection_error(const Linear& dense, const Linear& left, const Units& columns,
                        const ProjectionMoments& moments) {
  const Matrix<float> before = with_bias(dense, moments.fixed());
  Matrix<float> after = Matrix<float>::Zero(before.rows(), before.cols());
  const ConstView<float> weights = view(left.weight.data(), left.out, left.in);
  for (size_t j = 0; j < columns.size(); ++j) after.col(columns[j]) = weights.col(Index(j));
  for (Index i = 0; moments.fixed() > 0 && i < left.out; ++i) after(i, dense.in) = left.bias[size_t(i)];
  return layer_error(view(after), view(before), moments.gram());
}

}  // namespace prune
