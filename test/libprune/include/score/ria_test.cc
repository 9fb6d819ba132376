#include <prune/score/ria.h>

#include <cmath>

#include "test/libprune/include/calibration.h"

namespace prune {
namespace {

using testing::refusal;

TEST(Ria, ScoreIsTheShareOfRowAndColumnTimesAPowerOfTheNorm) {
  std::mt19937 rng(testing::test_seed());
  const Matrix<float> w = testing::normal_matrix(5, 9, rng);
  const Eigen::VectorXd mean_square = Eigen::VectorXd::LinSpaced(9, 0.0, 4.0);
  for (const double power : {0.5, 1.0}) {
    const auto scores = score::ria(w, mean_square, power);
    for (Index i = 0; i < 5; ++i) {
      for (Index j = 0; j < 9; ++j) {
        double row = 0, column = 0;
        for (Index k = 0; k < 9; ++k) row += std::abs(double(w(i, k)));
        for (Index k = 0; k < 5; ++k) column += std::abs(double(w(k, j)));
        const double magnitude = std::abs(double(w(i, j)));
        const double expected =
            (magnitude / column + magnitude / row) * std::pow(std::sqrt(mean_square[j]), power);
        EXPECT_NEAR(double(scores(i, j)), expected, 1e-6 * expected);
      }
    }
  }
  EXPECT_EQ(score::ria(w, mean_square), score::ria(w, mean_square, 0.5));
}

TEST(Ria, RowsAndColumnsOfZerosScoreNothing) {
  const Matrix<float> w{{0, 0, 0}, {0, 2, -2}};
  EXPECT_EQ(score::ria(w, Eigen::VectorXd::Ones(3)), (Matrix<float>{{0, 0, 0}, {0, 1.5, 1.5}}));
}

TEST(Ria, RefusesWhatItCantScore) {
  Matrix<float> w = Matrix<float>::Ones(3, 4);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "3 inputs", [&] { score::ria(w, Eigen::VectorXd::Ones(3)); }), "");
  for (const double bad : {-0.5, double(NAN), double(INFINITY)}) {
    EXPECT_EQ(refusal(ErrorKind::kUsage, "RIA: power", [&] { score::ria(w, Eigen::VectorXd::Ones(4), bad); }),
              "");
  }
  for (const float bad : {NAN, INFINITY}) {
    w(1, 2) = bad;
    EXPECT_EQ(refusal(ErrorKind::kInput, "row 1, column 2", [&] { score::ria(w, Eigen::VectorXd::Ones(4)); }),
              "");
  }
}

}  // namespace
}  // namespace prune
