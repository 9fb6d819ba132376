#include <prune/score/wanda.h>

#include <cmath>

#include "test/libprune/include/calibration.h"
#include "test/libprune/include/reference_select.h"

namespace prune {
namespace {

using testing::refusal;
using testing::same_mask;

class Wanda : public ::testing::Test {
 protected:
  // In double, for inputs whose mean squares have exact roots: then the scores are exact and ties are ties.
  Matrix<double> expected(const Matrix<float>& w) const {
    Matrix<double> scores(w.rows(), w.cols());
    for (Index i = 0; i < w.rows(); ++i) {
      for (Index j = 0; j < w.cols(); ++j) scores(i, j) = std::abs(double(w(i, j))) * norms_[size_t(j % 4)];
    }
    return scores;
  }
  Eigen::VectorXd mean_square(Index inputs) const {
    Eigen::VectorXd squares(inputs);
    for (Index j = 0; j < inputs; ++j) squares[j] = norms_[size_t(j % 4)] * norms_[size_t(j % 4)];
    return squares;
  }
  Matrix<float> weights(Index rows, Index cols) {
    Matrix<float> w(rows, cols);
    for (Index i = 0; i < w.size(); ++i) w.data()[i] = float(int(rng_() % 9) - 4);
    return w;
  }

  std::vector<double> norms_ = {2.0, 0.5, 0.0, 1.0};
  std::mt19937 rng_{testing::test_seed()};
};

TEST_F(Wanda, ScoreIsTheWeightTimesTheNormOfItsInput) {
  const Matrix<float> w = weights(5, 70);
  const auto scores = score::wanda(w, mean_square(70));
  EXPECT_EQ(scores.cast<double>(), expected(w));
  EXPECT_EQ(score::wanda(w.cast<bf16>().eval(), mean_square(70)), scores);
  static_assert(std::is_same_v<decltype(score::wanda(Matrix<double>(), {}))::Scalar, double>);
}

TEST_F(Wanda, InfiniteWeightsOnDeadInputsScoreNothing) {
  Matrix<float> w = Matrix<float>::Ones(1, 4);
  w(0, 2) = -INFINITY;  // whose input is always 0
  EXPECT_EQ(score::wanda(w, mean_square(4)), (Matrix<float>{{2, 0.5f, 0, 1}}));
  EXPECT_FALSE(select_wanda(w, mean_square(4), NM{3, 4}, 0.25)(0, 2));
  w(0, 1) = INFINITY;
  EXPECT_EQ(score::wanda(w, mean_square(4))(0, 1), INFINITY);
}

TEST_F(Wanda, EveryRowLosesTheSameExactShare) {
  for (const Index cols : {10, 64, 90}) {
    const Matrix<float> w = weights(7, cols);
    for (const double sparsity : testing::kSparsities) {
      const Mask mask = select_wanda(w, mean_square(cols), Unstructured{}, sparsity);
      ASSERT_TRUE(same_mask(mask, testing::reference_select(expected(w), sparsity, Scope::kRow)));
    }
  }
}

TEST_F(Wanda, SelectsGroupsAndBlocksBySquares) {
  const Matrix<float> w = weights(12, 72);
  EXPECT_TRUE(same_mask(select_wanda(w, mean_square(72), NM{2, 4}, 0.5),
                        testing::reference_select(expected(w), NM{2, 4})));
  const Block block{4, 6};
  Matrix<double> sums = Matrix<double>::Zero(3, 12);
  const Matrix<double> scores = expected(w);
  for (Index i = 0; i < 12; ++i) {
    for (Index j = 0; j < 72; ++j) sums(i / 4, j / 6) += scores(i, j) * scores(i, j);
  }
  EXPECT_TRUE(
      same_mask(select_wanda(w, mean_square(72), block, 0.3),
                testing::reference_expand(testing::reference_select(sums, 0.3, Scope::kLayer), block)));
}

TEST_F(Wanda, RefusesWhatItCantScore) {
  Matrix<float> w = weights(4, 8);
  Eigen::VectorXd squares = mean_square(8);
  const auto score = [&] { score::wanda(w, squares); };
  EXPECT_EQ(
      refusal(ErrorKind::kUsage, "7 inputs for weights with 8", [&] { score::wanda(w, squares.head(7)); }),
      "");
  for (const double bad : {double(NAN), -1.0, double(INFINITY)}) {
    squares[3] = bad;
    EXPECT_EQ(refusal(ErrorKind::kInput, "mean square of input 3 is", score), "");
  }
  w(2, 5) = NAN;
  for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{2, 2})}) {
    EXPECT_EQ(refusal(ErrorKind::kInput, "NaN at row 2, column 5",
                      [&] { select_wanda(w, mean_square(8), pattern, 0.5); }),
              "");
  }
}

}  // namespace
}  // namespace prune
