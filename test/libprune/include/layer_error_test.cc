#include <prune/layer_error.h>

#include "test/libprune/include/update/layers.h"

namespace prune {
namespace {

using testing::random_layer;
using testing::refusal;

class LayerError : public ::testing::Test {
 protected:
  std::mt19937 rng_{testing::test_seed()};
};

TEST_F(LayerError, IsTheShareOfTheOutputsThatIsLost) {
  for (const Index out : {1, 7, 300}) {  // 300: more than a panel
    const auto layer = random_layer(out, 24, rng_);
    const Matrix<float> pruned = layer.weights + 0.01f * testing::normal_matrix(out, 24, rng_);
    const double expected = testing::total_error(layer, pruned) / testing::output_energy(layer);
    EXPECT_NEAR(layer_error(view(pruned), view(layer.gram), layer.target()) / expected, 1, 1e-5);
    EXPECT_NEAR(layer_error(view(pruned), view(layer.weights), view(layer.gram)) / expected, 1, 1e-5);
    EXPECT_EQ(layer_error(view(layer.weights), view(layer.gram), layer.target()), 0);
  }
}

TEST_F(LayerError, MeasuresAgainstOtherOutputs) {
  const auto layer = random_layer(300, 24, rng_);
  const Matrix<double> inputs = layer.inputs.cast<double>();
  const Matrix<double> outputs = inputs * layer.weights.cast<double>().transpose() +
                                 testing::normal_matrix(inputs.rows(), 300, rng_).cast<double>();
  const Matrix<float> rhs = (outputs.transpose() * inputs).cast<float>();
  const Matrix<float> pruned = layer.weights + 0.1f * testing::normal_matrix(300, 24, rng_);
  const double expected =
      (inputs * pruned.cast<double>().transpose() - outputs).squaredNorm() / outputs.squaredNorm();
  const LayerTarget target{view(layer.weights), view(rhs), outputs.squaredNorm()};
  EXPECT_NEAR(layer_error(view(pruned), view(layer.gram), target) / expected, 1, 1e-3);
}

TEST_F(LayerError, OfNothingIsNothing) {
  const Matrix<float> zero = Matrix<float>::Zero(2, 3);
  const Matrix<float> one = Matrix<float>::Ones(2, 3);
  const Matrix<float> gram = Matrix<float>::Identity(3, 3);
  const Matrix<float> dead = Matrix<float>::Zero(3, 3);
  EXPECT_EQ(layer_error(view(one), view(zero), view(dead)), 0);
  EXPECT_EQ(layer_error(view(zero), view(zero), view(gram)), 0);
  EXPECT_TRUE(std::isinf(layer_error(view(one), view(zero), view(gram))));
  EXPECT_EQ(layer_error(view(zero), view(one), view(gram)), 1);
}

TEST_F(LayerError, IsNotZeroWhereItIsBeyondFloat) {
  Matrix<float> dense(1, 2), weights = Matrix<float>::Zero(1, 2);
  dense << 1e20f, 0;
  const Matrix<float> gram = Matrix<float>::Constant(2, 2, 1e20f);
  EXPECT_THROW(layer_error(view(weights), view(dense), view(gram)), Error);
}

TEST_F(LayerError, SaysWhatIsWrong) {
  Matrix<float> w = Matrix<float>::Ones(2, 3);
  Matrix<float> gram = Matrix<float>::Identity(3, 3);
  const Matrix<float> other = Matrix<float>::Ones(3, 3);
  const auto error = [&] { layer_error(view(w), view(w), view(gram)); };
  EXPECT_EQ(refusal(ErrorKind::kUsage, "dense weights: expected 2 x 3 as the weights, got 3 x 3",
                    [&] { layer_error(view(w), view(other), view(gram)); }),
            "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "gram: expected 3 x 3, got 2 x 3",
                    [&] { layer_error(view(w), view(w), view(w)); }),
            "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "right-hand side: expected 2 x 3",
                    [&] {
                      layer_error(view(w), view(gram), LayerTarget{view(w), view(other), 1});
                    }),
            "");
  for (const double energy : {-1.0, double(NAN), double(INFINITY)}) {
    EXPECT_EQ(refusal(ErrorKind::kInput, "energy of the target",
                      [&] {
                        layer_error(view(w), view(gram), LayerTarget{view(w), view(w), energy});
                      }),
              "");
    layer_error(view(w), view(gram), LayerTarget{view(w), std::nullopt, energy});  // not read
  }
  gram(1, 1) = -1;
  EXPECT_EQ(refusal(ErrorKind::kInput, "gram: negative at row 1", error), "");
  gram(1, 2) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "gram: NaN at row 1, column 2", error), "");
  gram = Matrix<float>::Identity(3, 3);
  w(1, 0) = INFINITY;
  EXPECT_EQ(refusal(ErrorKind::kInput, "weights: infinity at row 1, column 0", error), "");
}

}  // namespace
}  // namespace prune
