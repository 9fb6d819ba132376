#include <prune/score/movement.h>

#include <cmath>

#include <prune/optimizer.h>

#include "test/libprune/include/calibration.h"
#include "test/libprune/include/reference_select.h"

namespace prune {
namespace {

using testing::refusal;
using testing::same_mask;

const std::vector<std::pair<Pattern, double>>& patterns() {
  static const std::vector<std::pair<Pattern, double>> list = {
      {Unstructured{}, 0.7}, {NM{2, 4}, 0.5}, {NM{4, 8}, 0.5}, {Block{2, 4}, 0.3}};
  return list;
}

// A 4 x 8 layer and two steps' gradients, all dyadic: what follows is exact.
class MovementByHand : public ::testing::Test {
 protected:
  const Matrix<float> w_{{1, -2, 0.5f, 4, -1, 2, 3, -0.5f},
                         {2, 1, -1, 0, 4, -4, 1, 1},
                         {-1, -1, 2, 2, 0.5f, 0.5f, -2, 1},
                         {4, 0, 1, -1, 2, -2, 0.5f, 3}};
  const Matrix<float> dw_{{1, 1, -2, 0.5f, 1, -1, 0, 2},
                          {-1, 2, 1, 3, 0.5f, 0.25f, -2, 0},
                          {2, -1, 0, 1, -4, 2, 1, 1},
                          {0.25f, 7, -1, -1, 1, 1, 4, 0}};
  // dw o w, entry by entry.
  const Matrix<float> product_{{1, -2, -1, 2, -1, -2, 0, -1},
                               {-2, 2, -1, 0, 2, -1, -2, 0},
                               {-2, 1, 0, 2, -2, 1, -2, 1},
                               {1, 0, -1, 1, 2, -2, 2, 0}};
};

TEST_F(MovementByHand, GradientIsTheOneOfTheWeightTimesTheWeight) {
  const auto scores = MovementScores::zero(4, 8, Unstructured{});
  EXPECT_EQ(scores.gradient(w_, dw_), product_);
  EXPECT_EQ(scores.gradient(w_.cast<bf16>().eval(), dw_.cast<double>().eval()), product_);
}

TEST_F(MovementByHand, BlocksSumTheirGradient) {
  const auto scores = MovementScores::zero(4, 8, Block{2, 4});
  EXPECT_EQ(scores.gradient(w_, dw_), (Matrix<float>{{-1, -5}, {2, 0}}));
}

TEST_F(MovementByHand, ScoresAndMasksAfterAStep) {
  auto each = MovementScores::zero(4, 8, NM{2, 4});
  optimizer::sgd(0.5, each.gradient(w_, dw_), each.values());
  EXPECT_EQ(each.values(), -0.5f * product_);
  // Row 0: -dw o w is -1 2 1 -2 | 1 2 0 1, of equal ones the first.
  Mask expected(4, 8);
  for (const auto& [i, j] : {std::pair(0, 1),
                             {0, 2},
                             {0, 4},
                             {0, 5},
                             {1, 0},
                             {1, 2},
                             {1, 5},
                             {1, 6},
                             {2, 0},
                             {2, 2},
                             {2, 4},
                             {2, 6},
                             {3, 1},
                             {3, 2},
                             {3, 5},
                             {3, 7}}) {
    expected.set(i, j, true);
  }
  EXPECT_TRUE(same_mask(select(each, 0.5), expected));

  auto blocks = MovementScores::zero(4, 8, Block{2, 4});
  optimizer::sgd(0.5, blocks.gradient(w_, dw_), blocks.values());
  EXPECT_EQ(blocks.values(), (Matrix<float>{{0.5f, 2.5f}, {-1, 0}}));
  const Mask mask = select(blocks, 0.5);
  for (Index i = 0; i < 4; ++i) {
    for (Index j = 0; j < 8; ++j) EXPECT_EQ(mask(i, j), i < 2);
  }
}

class Movement : public ::testing::Test {
 protected:
  std::mt19937 rng_{testing::test_seed()};
};

// S_T = -rate * sum over steps of dL/dW' o W, whatever the masks were; W changes under them.
TEST_F(Movement, ScoreIsTheSumOfMovementsUnderSgd) {
  for (const auto& [pattern, sparsity] : patterns()) {
    auto scores = MovementScores::zero(6, 16, pattern);
    Matrix<float> w = testing::normal_matrix(6, 16, rng_);
    Matrix<double> sum = Matrix<double>::Zero(6, 16);
    for (int step = 0; step < 20; ++step) {
      Matrix<float> gradient = testing::normal_matrix(6, 16, rng_);
      sum += gradient.cast<double>().cwiseProduct(w.cast<double>());
      const Mask mask = select(scores, sparsity);
      ASSERT_TRUE(satisfies(mask, pattern));
      optimizer::sgd(0.125, scores.gradient(w, gradient), scores.values());
      apply(mask, gradient);
      optimizer::sgd(0.125, gradient, w);
    }
    const Block unit = MovementScores::unit_of(pattern);
    for (Index i = 0; i < scores.values().rows(); ++i) {
      for (Index j = 0; j < scores.values().cols(); ++j) {
        const double moved = sum.block(i * unit.rows, j * unit.cols, unit.rows, unit.cols).sum();
        EXPECT_NEAR(double(scores.values()(i, j)), -0.125 * moved, 1e-5) << to_string(pattern);
      }
    }
  }
}

// L = |X (W o S)^T - Y|^2 / 2 with the scores as the mask they stand for: its derivative, in double.
TEST_F(Movement, GradientIsTheDerivativeOfTheStraightThroughLoss) {
  const Matrix<double> x = testing::normal_matrix(9, 8, rng_).cast<double>();
  const Matrix<double> y = testing::normal_matrix(9, 4, rng_).cast<double>();
  const Matrix<double> w = testing::normal_matrix(4, 8, rng_).cast<double>();
  for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(Block{2, 4})}) {
    const auto scores = MovementScores::zero(4, 8, pattern);
    const Block unit = MovementScores::unit_of(pattern);
    Matrix<double> s = testing::normal_matrix(4 / unit.rows, 8 / unit.cols, rng_).cast<double>();
    const auto masked = [&] {
      Matrix<double> product = w;
      for (Index i = 0; i < 4; ++i) {
        for (Index j = 0; j < 8; ++j) product(i, j) *= s(i / unit.rows, j / unit.cols);
      }
      return product;
    };
    const auto loss = [&] { return (x * masked().transpose() - y).squaredNorm() / 2; };
    const Matrix<double> dw = (x * masked().transpose() - y).transpose() * x;
    const Matrix<float> gradient = scores.gradient(w, dw);
    for (Index i = 0; i < s.rows(); ++i) {
      for (Index j = 0; j < s.cols(); ++j) {
        const double at = s(i, j);
        s(i, j) = at + 1e-5;
        const double above = loss();
        s(i, j) = at - 1e-5;
        const double slope = (above - loss()) / 2e-5;
        s(i, j) = at;
        EXPECT_NEAR(double(gradient(i, j)), slope, 1e-5 * std::max(1.0, std::abs(slope)));
      }
    }
  }
}

TEST_F(Movement, PenaltyHasTheGradientOfCentralDifferences) {
  auto scores = MovementScores::zero(3, 5, Unstructured{});
  scores.values() = 3 * testing::normal_matrix(3, 5, rng_);
  Matrix<float> gradient = Matrix<float>::Constant(3, 5, 2);
  const double penalty = add_sigmoid_penalty(scores, 6, gradient);
  EXPECT_NEAR(penalty, 6 * (1 / (1 + (-scores.values().cast<double>().array()).exp())).mean(), 1e-12);
  for (Index k = 0; k < 15; ++k) {
    float& value = scores.values().data()[k];
    const float at = value;
    const auto penalty_at = [&](float v) {
      value = v;
      Matrix<float> unused = Matrix<float>::Zero(3, 5);
      return add_sigmoid_penalty(scores, 6, unused);
    };
    const double above = penalty_at(at + 0x1p-7f);
    const double slope = (above - penalty_at(at - 0x1p-7f)) / 0x1p-6;
    value = at;
    EXPECT_NEAR(double(gradient.data()[k]) - 2, slope, 1e-5);
  }
}

TEST_F(Movement, SoftMaskKeepsWhatIsAboveTheThreshold) {
  auto scores = MovementScores::zero(2, 4, Unstructured{});
  scores.values() << 0, 0.1f, -0.1f, 30, -30, 2, -2, 0;
  // sigmoid is 0.5 at 0, which is not above 0.5, and 0.119 at -2.
  const auto kept = [&](double tau, double least) {
    const Mask mask = select_soft(scores, tau, least);
    std::string bits;
    for (Index k = 0; k < 8; ++k) bits += mask(k / 4, k % 4) ? '1' : '0';
    return bits;
  };
  EXPECT_EQ(kept(0, 0.01), "11111111");
  EXPECT_EQ(kept(0.1, 0.01), "11110111");
  EXPECT_EQ(kept(0.2, 0.01), "11110101");
  EXPECT_EQ(kept(0.5, 0.01), "01010100");
  EXPECT_EQ(kept(0.9, 0.01), "00010000");
  EXPECT_EQ(kept(0.9, 0.5), "11010100");  // four at least: of the equal ones the first
  scores.values().setConstant(-40);
  EXPECT_EQ(kept(0.5, 0.01), "10000000");

  auto blocks = MovementScores::zero(4, 8, Block{2, 4});
  blocks.values() << 1, -1, -3, 2;
  const Mask mask = select_soft(blocks, 0.5);
  EXPECT_TRUE(satisfies(mask, Block{2, 4}));
  EXPECT_EQ(mask.count(), 16);
  EXPECT_TRUE(mask(0, 0) && mask(3, 7) && !mask(0, 7) && !mask(3, 0));
}

TEST_F(Movement, StartsAtTheMaskOfMagnitudes) {
  const Matrix<float> w = testing::normal_matrix(8, 16, rng_);
  for (const auto& [pattern, sparsity] : patterns()) {
    const auto scores = MovementScores::magnitude(w, pattern, 0.25);
    EXPECT_TRUE(same_mask(select(scores, sparsity), select_magnitude(w, pattern, sparsity)));
    const auto zero = MovementScores::zero(8, 16, pattern);
    EXPECT_TRUE(zero.values().isZero(0));
    EXPECT_EQ(select(zero, sparsity).count(), select_magnitude(w, pattern, sparsity).count());
  }
  const auto scores = MovementScores::magnitude(w, Unstructured{}, 0.25);
  EXPECT_EQ(scores.values(), 0.25f * w.cwiseAbs());
  EXPECT_FLOAT_EQ(MovementScores::magnitude(w, Block{8, 16}, 2).values()(0, 0), 2 * w.norm());
}

// One threshold over matrices that differ in size is the threshold of all scores in one row.
TEST_F(Movement, GlobalMasksShareOneThreshold) {
  auto a = MovementScores::zero(3, 20, Unstructured{});
  auto b = MovementScores::zero(5, 7, Unstructured{});
  const auto draw = [this](Index) { return float(int(rng_() % 7) - 3); };  // ties everywhere
  a.values() = Matrix<float>::NullaryExpr(3, 20, draw);
  b.values() = Matrix<float>::NullaryExpr(5, 7, draw);
  std::vector<double> all = testing::values_in_order(a.values());
  std::ranges::copy(testing::values_in_order(b.values()), std::back_inserter(all));
  for (const double sparsity : testing::kSparsities) {
    const auto kept = testing::keep_largest(all, 95 - testing::pruned_of(95, sparsity));
    const std::vector<Mask> masks = select_global({a, b}, sparsity);
    for (Index k = 0; k < 95; ++k) {
      ASSERT_EQ(k < 60 ? masks[0](k / 20, k % 20) : masks[1]((k - 60) / 7, (k - 60) % 7), kept[size_t(k)]);
    }
  }
  auto c = MovementScores::zero(4, 8, Block{2, 4});
  auto d = MovementScores::zero(2, 8, Block{2, 4});
  c.values() << 1, 4, 2, 2;
  d.values() << 2, 3;
  const std::vector<Mask> blocks = select_global({c, d}, 0.5);
  EXPECT_EQ(blocks[0].count(), 16);  // 4 and the first 2
  EXPECT_TRUE(blocks[0](0, 7) && blocks[0](3, 0) && blocks[1](1, 7));
  EXPECT_EQ(blocks[1].count(), 8);
  const auto nm = MovementScores::zero(2, 4, NM{2, 4});
  EXPECT_EQ(select_global({nm, nm}, 0.5)[1].count(), 4);
  EXPECT_TRUE(select_global(std::vector<BlockScores>{}, 0.5).empty());
}

TEST_F(Movement, RefusesWhatIsNoStep) {
  auto scores = MovementScores::zero(4, 8, Block{2, 4});
  Matrix<float> w = Matrix<float>::Ones(4, 8);
  Matrix<float> gradient = Matrix<float>::Ones(4, 8);
  const auto step = [&] { scores.gradient(w, gradient); };
  EXPECT_EQ(refusal(ErrorKind::kUsage, "expected weights of 4 x 8, got 2 x 8",
                    [&] { scores.gradient(w.topRows(2), gradient); }),
            "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "expected a gradient of 4 x 8, got 4 x 7",
                    [&] { scores.gradient(w, gradient.leftCols(7)); }),
            "");
  gradient(3, 5) = 3e38f;
  w(3, 5) = 2;
  EXPECT_EQ(refusal(ErrorKind::kInput, "gradient of the scores: infinity at row 3, column 5", step), "");
  gradient(3, 5) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "gradient of the scores: NaN at row 3, column 5", step), "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "7 columns", [] { MovementScores::zero(4, 7, NM{2, 4}); }), "");
  w(0, 3) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "NaN at row 0, column 3",
                    [&] {
                      MovementScores::magnitude(w, Block{2, 4});
                    }),
            "");
}

TEST_F(Movement, RefusesMasksThatCantBe) {
  auto scores = MovementScores::zero(4, 8, Unstructured{});
  const auto nm = MovementScores::zero(4, 8, NM{2, 4});
  EXPECT_EQ(refusal(ErrorKind::kUsage, "2:4 keeps a fixed number", [&] { select_soft(nm, 0.5); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "got 1 and", [&] { select_soft(scores, 1); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "and 0", [&] { select_soft(scores, 0.5, 0); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "not 0.3", [&] { select(nm, 0.3); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "several patterns", [&] { select_global({scores, nm}, 0.5); }), "");
  Matrix<float> small(1, 1);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "shape of the scores", [&] { add_sigmoid_penalty(scores, 1, small); }),
            "");
  scores.values()(2, 6) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "NaN at row 2, column 6", [&] { select(scores, 0.5); }), "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "NaN at row 2, column 6", [&] { select_soft(scores, 0.5); }), "");
}

}  // namespace
}  // namespace prune
