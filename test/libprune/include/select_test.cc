#include <prune/select.h>

#include <cmath>
#include <limits>
#include <random>

#include "test/libprune/include/reference_select.h"

namespace prune {
namespace {

using testing::kSparsities;
using testing::reference_select;
using testing::refusal;
using testing::same_mask;
using testing::tied_matrix;

constexpr Index kWidths[] = {1, 7, 8, 63, 64, 65, 129};

template <class T>
class Select : public ::testing::Test {
 protected:
  std::mt19937 rng_{testing::test_seed()};
};
TYPED_TEST_SUITE(Select, testing::AllTypes);

TYPED_TEST(Select, UnstructuredMatchesAStableSort) {
  using T = TypeParam;
  for (const Index cols : kWidths) {
    for (const Index rows : {1, 2, 5}) {
      for (const auto& scores :
           {tied_matrix<T>(rows, cols, this->rng_), testing::random_matrix<T>(rows, cols, this->rng_)}) {
        for (const double sparsity : kSparsities) {
          for (const Scope scope : {Scope::kRow, Scope::kLayer, Scope::kGlobal}) {
            const Mask mask = select(scores, Unstructured{}, sparsity, scope);
            ASSERT_TRUE(same_mask(mask, reference_select(scores, sparsity, scope)))
                << "sparsity " << sparsity;
            const Index each = scope == Scope::kRow ? cols : rows * cols;
            ASSERT_EQ(mask.count(), rows * cols / each * (each - testing::pruned_of(each, sparsity)));
          }
        }
      }
    }
  }
}

TYPED_TEST(Select, EveryNmMatchesAStableSort) {
  using T = TypeParam;
  for (int group = 2; group <= 32; ++group) {
    for (int keep = 1; keep < group; ++keep) {
      for (const Index groups : {1, 2, 3, 17}) {
        const NM pattern{keep, group};
        const auto scores = tied_matrix<T>(3, group * groups, this->rng_);
        const Mask mask = select(scores, pattern, 1.0 - double(keep) / group);
        ASSERT_TRUE(same_mask(mask, reference_select(scores, pattern))) << keep << ":" << group;
        ASSERT_EQ(mask.count(), 3 * groups * keep);
        ASSERT_TRUE(satisfies(mask, pattern));
      }
    }
  }
}

// The vectorised networks, on every order of magnitudes and every kind of tie.
TYPED_TEST(Select, VectorisedNmMatchesAStableSort) {
  using T = TypeParam;
  for (const int group : {4, 8}) {
    for (int keep = 1; keep < group; ++keep) {
      const NM pattern{keep, group};
      const double sparsity = 1.0 - double(keep) / group;
      const auto tied = tied_matrix<T>(4, 4096, this->rng_);
      const auto random = testing::random_matrix<T>(4, 4096, this->rng_);
      ASSERT_TRUE(same_mask(select(tied, pattern, sparsity), reference_select(tied, pattern)));
      ASSERT_TRUE(same_mask(select(random, pattern, sparsity), reference_select(random, pattern)));
    }
  }
}

TYPED_TEST(Select, BlocksAreChosenByTheirScores) {
  using T = TypeParam;
  for (const Block block : {Block{1, 1}, Block{1, 16}, Block{16, 1}, Block{4, 4}, Block{3, 5}, Block{64, 2},
                            Block{1, 65}, Block{2, 129}}) {
    for (const double sparsity : kSparsities) {
      for (const Scope scope : {Scope::kRow, Scope::kLayer}) {
        const auto scores = tied_matrix<T>(3, 7, this->rng_);
        const BlockScores of_blocks{block, scores.unaryExpr([](const T& s) { return as_double(s); })};
        const Mask mask = select(of_blocks, sparsity, scope);
        const Mask blocks = reference_select(scores, sparsity, scope);
        ASSERT_TRUE(same_mask(mask, testing::reference_expand(blocks, block))) << to_string(Pattern(block));
        ASSERT_TRUE(satisfies(mask, block));
      }
    }
  }
}

// One score a weight: the mask has the shape of the scores, a block is worth their sum.
TEST(Select, ScoresOfWeightsAreSummedOverBlocks) {
  std::mt19937 rng(testing::test_seed());
  for (const Block block : {Block{1, 1}, Block{2, 3}, Block{4, 1}, Block{4, 6}}) {
    Matrix<float> scores(8, 12);
    for (Index i = 0; i < scores.size(); ++i) scores.data()[i] = float(int(rng() % 9) - 4);
    Matrix<double> sums = Matrix<double>::Zero(8 / block.rows, 12 / block.cols);
    for (Index i = 0; i < 8; ++i) {
      for (Index j = 0; j < 12; ++j) sums(i / block.rows, j / block.cols) += double(scores(i, j));
    }
    for (const double sparsity : kSparsities) {
      for (const Scope scope : {Scope::kRow, Scope::kLayer}) {
        const Mask mask = select(scores, block, sparsity, scope);
        ASSERT_EQ(mask.rows(), 8);
        ASSERT_EQ(mask.cols(), 12);
        const Mask blocks = reference_select(sums, sparsity, scope);
        ASSERT_TRUE(same_mask(mask, testing::reference_expand(blocks, block)));
      }
    }
  }
}

TEST(Select, RefusesBlocksWithoutAWorth) {
  Matrix<float> scores = Matrix<float>::Ones(4, 6);
  scores(2, 3) = INFINITY;
  EXPECT_TRUE(select(scores, Block{2, 3}, 0.5)(3, 5));
  scores(3, 4) = -INFINITY;
  EXPECT_EQ(refusal(ErrorKind::kInput, "the score of the block at row 2, column 3 is NaN",
                    [&] {
                      select(scores, Block{2, 3}, 0.5);
                    }),
            "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "6 columns are not a multiple of 4",
                    [&] {
                      select(scores, Block{2, 4}, 0.5);
                    }),
            "");
  BlockScores of_blocks{Block{2, 3}, Matrix<double>::Ones(2, 2)};
  of_blocks.values(1, 0) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "NaN at row 1, column 0", [&] { select(of_blocks, 0.5); }), "");
  of_blocks.block.rows = 0;
  EXPECT_EQ(refusal(ErrorKind::kUsage, "pattern 0x3: a block has", [&] { select(of_blocks, 0.5); }), "");
}

TYPED_TEST(Select, RowsMayLieApart) {
  using T = TypeParam;
  for (const Index cols : {8, 63, 64}) {
    auto wide = tied_matrix<T>(4, cols + 3, this->rng_);
    for (const Index j : {Index(0), cols + 1, cols + 2}) wide.col(j).setConstant(testing::quiet_nan<T>());
    const Matrix<T> compact = wide.middleCols(1, cols);
    const ConstView<T> apart(wide.data() + 1, 4, cols, Eigen::OuterStride<>(cols + 3));
    EXPECT_EQ(select(apart, Unstructured{}, 0.5), select(compact, Unstructured{}, 0.5));
    EXPECT_EQ(select(wide.middleCols(1, cols), Unstructured{}, 0.5, Scope::kRow),
              select(compact, Unstructured{}, 0.5, Scope::kRow));
    if (cols % 8 == 0) {
      EXPECT_EQ(select(apart, NM{2, 4}, 0.5), select(compact, NM{2, 4}, 0.5));
    }
  }
}

TYPED_TEST(Select, NanIsRefusedWithItsPosition) {
  using T = TypeParam;
  constexpr std::pair<Index, Index> kPositions[] = {{0, 0}, {2, 7}, {1, 15}, {3, 3}};
  for (const auto& [row, col] : kPositions) {
    for (const bool negative : {false, true}) {
      auto scores = tied_matrix<T>(4, 16, this->rng_);
      scores(row, col) = testing::quiet_nan<T>(negative);
      if (row < 3) scores(row + 1, 0) = testing::quiet_nan<T>();  // the first one is named
      const std::string where = "NaN at row " + std::to_string(row) + ", column " + std::to_string(col);
      for (const Pattern& pattern :
           {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(NM{8, 16}), Pattern(Block{2, 2})}) {
        EXPECT_EQ(refusal(ErrorKind::kInput, where, [&] { select(scores, pattern, 0.5); }), "")
            << to_string(pattern);
      }
      EXPECT_EQ(refusal(ErrorKind::kInput, where, [&] { select(scores, Unstructured{}, 0.5, Scope::kRow); }),
                "");
    }
  }
}

TEST(Select, KeptCountIsWhatRemainsOfTheFloor) {
  EXPECT_EQ(kept_count(0, 0.5), 0);
  EXPECT_EQ(kept_count(1, 0.5), 1);
  EXPECT_EQ(kept_count(7, 0.5), 4);
  EXPECT_EQ(kept_count(10, 0.0), 10);
  EXPECT_EQ(kept_count(10, 0.999), 1);
  EXPECT_EQ(kept_count(1000, 0.999), 1);
  EXPECT_EQ(kept_count(3'000'000'001, 0.5), 1'500'000'001);
  EXPECT_EQ(kept_count(100, 0.29),
            72);  // 100 * 0.29 is 28.999999999999996 in double, as in any other program
}

TEST(Select, TiesKeepTheLowestColumns) {
  const Matrix<float> equal = Matrix<float>::Ones(2, 8);
  for (Index j = 0; j < 8; ++j) {
    EXPECT_EQ(select(equal, NM{2, 4}, 0.5)(1, j), j % 4 < 2);
    EXPECT_EQ(select(equal, Unstructured{}, 0.5, Scope::kRow)(1, j), j < 4);
    EXPECT_EQ(select(equal, Unstructured{}, 0.5)(0, j), true);
    EXPECT_EQ(select(equal, Unstructured{}, 0.5)(1, j), false);
  }
}

TEST(Select, BothZerosTie) {
  Matrix<float> scores(1, 4);
  scores << -0.0f, 0.0f, -0.0f, 0.0f;
  EXPECT_EQ(select(scores, NM{2, 4}, 0.5).row(0)[0], 0b0011u);
  EXPECT_EQ(select(scores, Unstructured{}, 0.5).row(0)[0], 0b0011u);
}

TEST(Select, SparsityMayBeAsRoundAsItIsPrinted) {
  const Matrix<float> scores = Matrix<float>::Ones(2, 9);
  EXPECT_EQ(select(scores, NM{1, 3}, 0.6667).count(), 6);
}

TEST(Select, NegativeScoresGoFirst) {
  Matrix<float> scores(1, 4);
  scores << -5, 1, -INFINITY, INFINITY;
  EXPECT_EQ(select(scores, NM{2, 4}, 0.5).row(0)[0], 0b1010u);
  EXPECT_EQ(select(scores, NM{3, 4}, 0.25).row(0)[0], 0b1011u);
  EXPECT_EQ(select(scores, Unstructured{}, 0.5).row(0)[0], 0b1010u);
}

TEST(Select, EmptyMatrices) {
  for (const auto& [rows, cols] : {std::pair(0, 8), std::pair(3, 0), std::pair(0, 0)}) {
    const Matrix<float> empty(rows, cols);
    for (const Pattern& pattern :
         {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{1, 1}), Pattern(Block{3, 8})}) {
      EXPECT_EQ(select(empty, pattern, 0.5), Mask(rows, cols));
      EXPECT_EQ(select(empty, pattern, 0.5, Scope::kRow), Mask(rows, cols));
    }
  }
}

TEST(Select, RefusesWhatCannotBeMeant) {
  const Matrix<float> scores = Matrix<float>::Ones(4, 10);
  const auto refused = [&](ErrorKind kind, const char* text, const Pattern& pattern, double sparsity) {
    return refusal(kind, text, [&] { select(scores, pattern, sparsity); });
  };
  EXPECT_EQ(refused(ErrorKind::kUsage, "0 <= sparsity < 1", Unstructured{}, 1.0), "");
  EXPECT_EQ(refused(ErrorKind::kUsage, "0 <= sparsity < 1", Unstructured{}, -0.5), "");
  EXPECT_EQ(refused(ErrorKind::kUsage, "0 <= sparsity < 1", Block{2, 2}, NAN), "");
  EXPECT_EQ(refused(ErrorKind::kUsage, "means sparsity 0.5", NM{2, 4}, 0.6), "");
  EXPECT_EQ(refused(ErrorKind::kInput, "10 columns are not a multiple of 4", NM{2, 4}, 0.5), "");
}

}  // namespace
}  // namespace prune
