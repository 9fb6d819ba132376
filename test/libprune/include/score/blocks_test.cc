#include <prune/score/blocks.h>

#include <cmath>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

double itself(float w) { return double(w); }

TEST(BlockSum, AddsUpTheScoresOfEachBlock) {
  Matrix<float> w(4, 6);
  w << 1, 2, 3, 4, 5, 6,  //
      -1, 0, 1, 0, 0, 0,  //
      7, 7, 7, 1, 1, 1,   //
      7, 7, 7, 0, 0, 0.5;
  EXPECT_EQ(score::block_sum(w, Block{2, 3}, itself).values, (Matrix<double>{{6, 15}, {42, 3.5}}));
  EXPECT_EQ(score::block_sum(w, Block{4, 6}, [](float) { return 1.0; }).values, (Matrix<double>{{24}}));
  EXPECT_EQ(score::block_sum(w.rightCols(4), Block{1, 2}, itself).values.row(1),
            (Matrix<double>{{1, 0}}).row(0));
  EXPECT_EQ(score::block_sum(w, Block{2, 3}, itself).block, (Block{2, 3}));
}

TEST(BlockSum, RefusesANanWithItsBlock) {
  Matrix<float> w = Matrix<float>::Ones(4, 6);
  const auto sum = [&] { score::block_sum(w, Block{2, 3}, itself); };
  const std::string place = "the score of the block at row 2, column 3 is NaN";
  w(3, 4) = NAN;
  EXPECT_EQ(testing::refusal(ErrorKind::kInput, place, sum), "");
  w(3, 4) = INFINITY;
  EXPECT_EQ(score::block_sum(w, Block{2, 3}, itself).values(1, 1), INFINITY);
  w(2, 3) = -INFINITY;
  EXPECT_EQ(testing::refusal(ErrorKind::kInput, place, sum), "");
}

TEST(BlockSum, RefusesShapesThatDoNotDivide) {
  const Matrix<float> w = Matrix<float>::Ones(4, 6);
  EXPECT_EQ(testing::refusal(ErrorKind::kInput, "6 columns",
                             [&] {
                               score::block_sum(w, Block{2, 4}, itself);
                             }),
            "");
  EXPECT_EQ(testing::refusal(ErrorKind::kUsage, "0x4",
                             [&] {
                               score::block_sum(w, Block{0, 4}, itself);
                             }),
            "");
}

}  // namespace
}  // namespace prune
