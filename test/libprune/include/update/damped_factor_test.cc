#include <prune/update/damped_factor.h>

#include <cmath>

#include "test/libprune/include/calibration.h"

namespace prune {
namespace {

using testing::refusal;

class Factor : public ::testing::Test {
 protected:
  Matrix<float> gram(Index inputs) {
    Gram sums(inputs);
    sums.add(testing::correlated_inputs(2 * inputs + 3, inputs, rng_));
    return sums.matrix();
  }
  static Matrix<double> damped(const Matrix<float>& gram, double damping) {
    Matrix<double> h = gram.cast<double>();
    h.diagonal().array() += damping * gram.cast<double>().diagonal().mean();
    return h;
  }
  std::mt19937 rng_{testing::test_seed()};
};

TEST_F(Factor, MultipliesUpToTheDampedGramMatrix) {
  for (const Index n : {1, 2, 60, 128, 129, 300}) {
    const Matrix<float> g = gram(n);
    const DampedFactor factor = factor_damped(view(g), 0.01);
    const Matrix<double> r = factor.unit_upper.view().cast<double>().triangularView<Eigen::UnitUpper>() *
                             Matrix<double>::Identity(n, n);
    const Matrix<double> h = damped(g, 0.01);
    EXPECT_LT((r * factor.pivots.cast<double>().asDiagonal() * r.transpose() - h).norm(), 1e-6 * h.norm());
    EXPECT_LT((factor.unit_upper.view().diagonal() - Eigen::VectorXf::Ones(n)).norm(), 1e-6 * double(n));
    EXPECT_EQ(factor.damping, 0.01);
    EXPECT_EQ(factor.retries, 0);
  }
}

TEST_F(Factor, PivotsAreTheSaliencyOfWhatRemains) {
  const Index n = 140;
  const Matrix<float> g = gram(n);
  const DampedFactor factor = factor_damped(view(g), 0.01);
  const Matrix<double> h = damped(g, 0.01);
  const Matrix<double> inverse = h.llt().solve(Matrix<double>::Identity(n, n));
  const Matrix<double> u = inverse.llt().matrixU();  // the paper's: H^-1 = U^T U
  for (Index j = 0; j < n; ++j) {
    const Matrix<double> rest = h.bottomRightCorner(n - j, n - j);
    const double first = rest.llt().solve(Eigen::VectorXd::Unit(n - j, 0))[0];
    EXPECT_NEAR(1 / double(factor.pivots[j]), first, 1e-4 * first) << j;
    EXPECT_NEAR(1 / double(factor.pivots[j]), u(j, j) * u(j, j), 1e-4 * first) << j;
  }
}

TEST_F(Factor, ReadsOnlyTheUpperTriangle) {
  const Matrix<float> g = gram(150);
  Matrix<float> upper = g;
  for (const float other : {1e30f, float(NAN), float(INFINITY)}) {
    upper.triangularView<Eigen::StrictlyLower>().setConstant(other);
    EXPECT_EQ(factor_damped(view(upper), 0.01).pivots, factor_damped(view(g), 0.01).pivots);
  }
}

TEST_F(Factor, TriesAgainWithTenTimesTheDamping) {
  const Matrix<float> indefinite{{1, 2}, {2, 1}};  // eigenvalues 3 and -1
  const DampedFactor factor = factor_damped(view(indefinite), 0.05);
  EXPECT_EQ(factor.retries, 2);
  EXPECT_DOUBLE_EQ(factor.damping, 5.0);
  EXPECT_FLOAT_EQ(factor.pivots[1], 6.0f);
  const Matrix<float> hopeless{{1, 1e6f}, {1e6f, 1}};
  EXPECT_EQ(refusal(ErrorKind::kInput, "not positive definite even with damping 100",
                    [&] { factor_damped(view(hopeless), 0.01); }),
            "");
}

TEST_F(Factor, TakesRankOneAndDeadInputs) {
  Matrix<float> x = testing::correlated_inputs(1, 200, rng_);
  x(0, 7) = 0;
  const Matrix<float> g = x.transpose() * x;
  const DampedFactor factor = factor_damped(view(g), 0.01);
  EXPECT_EQ(factor.pivots[7], 1.0f);
  EXPECT_TRUE((factor.pivots.array() > 0).all());
  const Matrix<float> none = Matrix<float>::Zero(3, 3);
  EXPECT_EQ(factor_damped(view(none), 0.01).pivots, Eigen::VectorXf::Ones(3));
}

TEST_F(Factor, RefusesWhatIsNoGramMatrix) {
  Matrix<float> g = gram(5);
  const auto factor = [&] { factor_damped(view(g), 0.01); };
  for (const double damping : {0.0, -1.0, double(NAN)}) {
    EXPECT_EQ(
        refusal(ErrorKind::kUsage, "expected a positive number", [&] { factor_damped(view(g), damping); }),
        "");
  }
  const auto with = [&](double damping) { return [&g, damping] { factor_damped(view(g), damping); }; };
  EXPECT_EQ(refusal(ErrorKind::kUsage, "damping inf: expected a share", with(INFINITY)), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "damping 1e+40: too much", with(1e40)), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "4 x 5",
                    [&] {
                      factor_damped({g.data(), 4, 5, Eigen::OuterStride<>(5)}, 0.01);
                    }),
            "");
  g(3, 3) = -1;
  EXPECT_EQ(refusal(ErrorKind::kInput, "negative at row 3 of the diagonal", factor), "");
  g(1, 4) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "NaN at row 1, column 4", factor), "");
}

}  // namespace
}  // namespace prune
