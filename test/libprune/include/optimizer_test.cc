#include <prune/optimizer.h>

#include <cmath>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

using testing::refusal;

TEST(Sgd, GoesAgainstTheGradient) {
  Matrix<float> values{{1, 2}, {3, 4}};
  const Matrix<float> gradient{{4, -8}, {0, 2}};
  optimizer::sgd(0.25, gradient, values);
  EXPECT_EQ(values, (Matrix<float>{{0, 4}, {3, 3.5}}));
}

// With beta1 = 1/2, beta2 = 3/4 and epsilon 0.5, by hand. g = 4, then -2:
//   m = 2, v = 4:       m / (1/2) = 4, sqrt(v / (1/4)) = 4:            4 / 4.5
//   m = 0, v = 4:       0: no step
// then g = 6:
//   m = 3, v = 12:      m / (7/8) = 24/7, sqrt(v / (37/64)) = sqrt(768/37)
TEST(Adam, StepsAsCalculatedByHand) {
  optimizer::Adam adam({.beta1 = 0.5, .beta2 = 0.75, .epsilon = 0.5});
  Matrix<float> value{{1.0f}};
  adam.step(0.9, Matrix<float>{{4}}, value);
  EXPECT_FLOAT_EQ(value(0, 0), 0.2f);
  adam.step(0.9, Matrix<float>{{-2}}, value);
  EXPECT_FLOAT_EQ(value(0, 0), 0.2f);
  adam.step(0.1, Matrix<float>{{6}}, value);
  EXPECT_FLOAT_EQ(value(0, 0), float(0.2 - 0.1 * (24.0 / 7) / (std::sqrt(768.0 / 37) + 0.5)));
  EXPECT_EQ(adam.steps(), 3);
}

// Whatever the gradient's size, the first step is one rate; and rows that are further apart stay so.
TEST(Adam, FirstStepIsTheRate) {
  optimizer::Adam adam;
  Matrix<float> wide = Matrix<float>::Constant(2, 5, 7);
  const Matrix<float> gradient{{1e-3f, -1e3f, 1}, {-1, 1e-5f, 0}};
  adam.step(0.5, gradient, wide.leftCols(3));
  const Matrix<float> expected{{6.5f, 7.5f, 6.5f, 7, 7}, {7.5f, 6.5f, 7, 7, 7}};
  EXPECT_LT((wide - expected).cwiseAbs().maxCoeff(), 1e-3f);
  EXPECT_EQ(wide.rightCols(2), expected.rightCols(2));
}

TEST(Adam, RefusesWhatWouldSpoilTheValues) {
  optimizer::Adam adam;
  Matrix<float> values = Matrix<float>::Ones(2, 3);
  Matrix<float> gradient = Matrix<float>::Ones(2, 3);
  const auto step = [&] { adam.step(0.1, gradient, values); };
  const auto sgd = [&] { optimizer::sgd(0.1, gradient, values); };
  gradient(1, 2) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "gradient: NaN at row 1, column 2", step), "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "gradient: NaN at row 1, column 2", sgd), "");
  gradient.resize(3, 3);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "a gradient of 3 x 3 for values of 2 x 3", step), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "a gradient of 3 x 3 for values of 2 x 3", sgd), "");
  EXPECT_EQ(values, Matrix<float>::Ones(2, 3));
  EXPECT_EQ(adam.steps(), 0);
  gradient = Matrix<float>::Ones(2, 3);
  step();
  EXPECT_EQ(refusal(ErrorKind::kUsage, "belongs to one matrix",
                    [&] { adam.step(0.1, gradient.leftCols(2), values.leftCols(2)); }),
            "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "beta1", [] { optimizer::Adam({.beta1 = 1}); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "epsilon", [] { optimizer::Adam({.epsilon = 0}); }), "");
}

}  // namespace
}  // namespace prune
