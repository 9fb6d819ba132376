#include <prune/update/refit.h>

#include <prune/score/magnitude.h>

#include "test/libprune/include/update/layers.h"

namespace prune::update {
namespace {

using testing::exact_refit;
using testing::mutable_view;
using testing::random_layer;
using testing::refusal;
using testing::row_error;

class Refit : public ::testing::Test {
 protected:
  std::mt19937 rng_{testing::test_seed()};
};

// How much more squared error than at the solution, but for the damping.
double excess(const testing::Layer& layer, const Matrix<double>& weights, const Matrix<double>& solution) {
  return (layer.inputs.cast<double>() * (weights - solution).transpose()).squaredNorm();
}

TEST_F(Refit, ReachesTheExactSolutionOfEveryRow) {
  for (const Index out : {1, 5, 300}) {
    const auto layer = random_layer(out, 60, rng_);
    for (const Pattern& pattern : {Pattern(NM{2, 4}), Pattern(Unstructured{})}) {
      const Mask mask = select_magnitude(layer.weights, pattern, 0.5);
      for (const double damping : {1e-3, 0.1}) {
        const Matrix<double> exact =
            exact_refit(layer.weights, testing::rhs_of(layer), layer.gram, mask, damping);
        Matrix<double> start = layer.weights.cast<double>();
        apply(mask, start);
        Matrix<float> weights = layer.weights;
        refit(mutable_view(weights), mask, view(layer.gram), layer.target(), {damping, 200});
        // What is left to gain is a curvature away; the bottom is flat.
        ASSERT_LT(excess(layer, weights.cast<double>(), exact), 1e-4 * excess(layer, start, exact))
            << out << " rows, " << damping;
        ASSERT_EQ(nonzero_mask(weights), mask);
      }
    }
  }
}

TEST_F(Refit, ReachesTheExactSolutionForOtherOutputs) {
  const auto layer = random_layer(300, 40, rng_);
  const Matrix<float> rhs =
      (testing::rhs_of(layer) + 50 * testing::normal_matrix(300, 40, rng_).cast<double>()).cast<float>();
  const Mask mask = select_magnitude(layer.weights, Unstructured{}, 0.5);
  const Matrix<double> exact = exact_refit(layer.weights, rhs.cast<double>(), layer.gram, mask, 1e-3);
  Matrix<float> weights = layer.weights;
  const LayerTarget target{view(layer.weights), view(rhs), 1e9};
  const RefitResult result = refit(mutable_view(weights), mask, view(layer.gram), target, {1e-3, 200});
  EXPECT_LT((weights.cast<double>() - exact).norm(), 1e-2 * exact.norm());
  EXPECT_LT(result.error_after, result.error_before);
  EXPECT_NEAR(result.error_after / layer_error(view(weights), view(layer.gram), target), 1, 1e-5);
}

TEST_F(Refit, NeverRaisesTheErrorOfARow) {
  const auto layer = random_layer(40, 32, rng_);
  const Mask mask = select_magnitude(layer.weights, NM{2, 4}, 0.5);
  for (const int steps : {0, 1, 2, 3, 50}) {
    for (const double damping : {0.0, 1e-3, 10.0}) {
      // From the masked weights, and from the optimum, where a large damping pulls the wrong way.
      Matrix<float> best = layer.weights;
      refit(mutable_view(best), mask, view(layer.gram), layer.target(), {0, 200});
      for (const Matrix<float>& start : {layer.weights, best}) {
        Matrix<float> before = start;
        apply(mask, before);
        Matrix<float> after = start;
        const RefitResult result =
            refit(mutable_view(after), mask, view(layer.gram), layer.target(), {damping, steps});
        for (Index i = 0; i < 40; ++i) {
          ASSERT_LE(row_error(layer, after, i), row_error(layer, before, i) * (1 + 1e-5)) << i;
        }
        ASSERT_LE(result.error_after, result.error_before);
        ASSERT_LE(result.steps, steps);
        ASSERT_TRUE(steps > 0 || testing::same_bits(after, before));
      }
    }
  }
}

TEST_F(Refit, ReportsTheErrors) {
  const auto layer = random_layer(300, 32, rng_);
  const Mask mask = select_magnitude(layer.weights, NM{1, 4}, 0.75);
  Matrix<float> masked = layer.weights;
  apply(mask, masked);
  Matrix<float> weights = layer.weights;
  const RefitResult result = refit(mutable_view(weights), mask, view(layer.gram), layer.target());
  const double energy = testing::output_energy(layer);
  EXPECT_NEAR(result.error_before * energy / testing::total_error(layer, masked), 1, 1e-4);
  EXPECT_NEAR(result.error_after * energy / testing::total_error(layer, weights), 1, 1e-4);
  EXPECT_LT(result.error_after, 0.9 * result.error_before);
}

TEST_F(Refit, TakesTheWeightsGivenForDense) {
  const auto layer = random_layer(9, 32, rng_);
  const Mask mask = select_magnitude(layer.weights, NM{2, 4}, 0.5);
  Matrix<float> a = layer.weights;
  Matrix<float> b = layer.weights;
  refit(mutable_view(a), mask, view(layer.gram));
  refit(mutable_view(b), mask, view(layer.gram), layer.target());
  EXPECT_TRUE(testing::same_bits(a, b));
  EXPECT_FALSE(testing::same_bits(a, layer.weights));
}

TEST_F(Refit, LeavesAFullMaskAlone) {
  const auto layer = random_layer(9, 32, rng_);
  Matrix<float> weights = layer.weights;
  EXPECT_EQ(refit(mutable_view(weights), nonzero_mask(layer.weights), view(layer.gram)).error_after, 0);
  EXPECT_TRUE(testing::same_bits(weights, layer.weights));
}

TEST_F(Refit, WorksOnAGramMatrixOfRankOne) {
  auto layer = random_layer(6, 16, rng_);
  layer.inputs = testing::normal_matrix(1, 16, rng_);
  layer.gram = testing::gram_of(layer.inputs);
  const Mask mask = select_magnitude(layer.weights, NM{2, 4}, 0.5);
  for (const double damping : {0.0, 1e-3}) {
    Matrix<float> weights = layer.weights;
    const RefitResult result =
        refit(mutable_view(weights), mask, view(layer.gram), layer.target(), {damping, 50});
    EXPECT_TRUE(weights.allFinite());
    EXPECT_GT(result.error_before, 0.01);
    EXPECT_LT(result.error_after, 1e-4);  // one number to meet, eight weights to meet it with
  }
}

TEST_F(Refit, PrunesInputsThatAreAlwaysZero) {
  auto layer = random_layer(6, 16, rng_);
  layer.inputs.col(3).setZero();
  layer.inputs.col(8).setZero();
  layer.gram = testing::gram_of(layer.inputs);
  Mask mask = nonzero_mask(layer.weights);
  for (Index i = 0; i < 6; ++i) mask.set(i, 5, false);
  Matrix<float> weights = layer.weights;
  const RefitResult result = refit(mutable_view(weights), mask, view(layer.gram), layer.target());
  EXPECT_LT(result.error_after, result.error_before);
  for (Index i = 0; i < 6; ++i) {
    for (const Index j : {3, 5, 8}) EXPECT_EQ(testing::bits_of(weights(i, j)), 0u);
  }
  const Matrix<float> dead = Matrix<float>::Zero(16, 16);
  refit(mutable_view(weights), mask, view(dead), layer.target());
  EXPECT_TRUE(weights.isZero(0));
}

TEST_F(Refit, LeavesAPrunedRowAtZero) {
  const auto layer = random_layer(4, 16, rng_);
  Mask mask = nonzero_mask(layer.weights);
  for (Index j = 0; j < 16; ++j) mask.set(2, j, false);
  Matrix<float> weights = layer.weights;
  refit(mutable_view(weights), mask, view(layer.gram));
  for (Index j = 0; j < 16; ++j) EXPECT_EQ(testing::bits_of(weights(2, j)), 0u);
  EXPECT_TRUE(testing::same_bits(weights.topRows(2), layer.weights.topRows(2)));
}

TEST_F(Refit, GivesTheSameBitsTwiceAndInAWiderMatrix) {
  const auto layer = random_layer(300, 36, rng_);
  const Mask mask = select_magnitude(layer.weights, NM{2, 4}, 0.5);
  Matrix<float> weights = layer.weights;
  refit(mutable_view(weights), mask, view(layer.gram));
  Matrix<float> wide = Matrix<float>::Constant(300, 40, 7);
  wide.leftCols(36) = layer.weights;
  refit(View<float>(wide.data(), 300, 36, Eigen::OuterStride<>(40)), mask, view(layer.gram));
  EXPECT_TRUE(testing::same_bits(wide.leftCols(36), weights));
  EXPECT_TRUE((wide.rightCols(4).array() == 7).all());
}

TEST_F(Refit, SaysWhatIsWrong) {
  auto layer = random_layer(4, 8, rng_);
  const Mask mask(4, 8);
  const auto with = [&](const Mask& m, RefitOptions options) {
    refit(mutable_view(layer.weights), m, view(layer.gram), options);
  };
  EXPECT_EQ(refusal(ErrorKind::kUsage, "mask: expected 4 x 8", [&] { with(Mask(4, 9), {}); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "damping", [&] { with(mask, {-1, 5}); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "damping", [&] { with(mask, {NAN, 5}); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "damping 1e+40: too much", [&] { with(mask, {1e40, 5}); }), "");
  layer.gram(0, 7) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "gram: NaN", [&] { with(mask, {}); }), "");
}

}  // namespace
}  // namespace prune::update
