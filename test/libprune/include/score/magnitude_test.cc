#include <prune/score/magnitude.h>

#include <cmath>
#include <random>

#include "test/libprune/include/reference_select.h"

namespace prune {
namespace {

using testing::refusal;
using testing::same_mask;
using testing::value_of;

template <class T>
class Magnitude : public ::testing::Test {
 protected:
  std::mt19937 rng_{testing::test_seed()};
};
TYPED_TEST_SUITE(Magnitude, testing::AllTypes);

TYPED_TEST(Magnitude, ScoreIsTheAbsoluteValue) {
  using T = TypeParam;
  const auto weights = testing::random_matrix<T>(3, 65, this->rng_);
  const auto scores = score::magnitude(weights.middleCols(1, 63));
  ASSERT_EQ(scores.rows(), 3);
  ASSERT_EQ(scores.cols(), 63);
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j < 63; ++j) {
      EXPECT_EQ(double(scores(i, j)), std::abs(value_of(weights(i, j + 1))));
      EXPECT_FALSE(std::signbit(scores(i, j)));
    }
  }
}

template <class T>
std::vector<double> magnitudes(const Matrix<T>& weights) {
  std::vector<double> values = testing::values_in_order(weights);
  for (double& value : values) value = std::abs(value);
  return values;
}

TYPED_TEST(Magnitude, SelectsTheSameWithAndWithoutStoredScores) {
  using T = TypeParam;
  for (const Index cols : {8, 64, 72, 120}) {
    for (const auto& weights :
         {testing::tied_matrix<T>(5, cols, this->rng_), testing::random_matrix<T>(5, cols, this->rng_)}) {
      const auto scores = score::magnitude(weights);
      for (const NM nm : {NM{2, 4}, NM{1, 4}, NM{4, 8}, NM{3, 8}, NM{1, 2}}) {
        const double sparsity = 1.0 - double(nm.keep) / nm.group;
        const Mask mask = select_magnitude(weights, nm, sparsity);
        ASSERT_EQ(mask, select(scores, nm, sparsity));
        ASSERT_TRUE(
            same_mask(mask, testing::keep_in_stretches(magnitudes<T>(weights), 5, cols, nm.group, nm.keep)));
      }
      for (const Scope scope : {Scope::kRow, Scope::kLayer}) {
        for (const double sparsity : testing::kSparsities) {
          const Mask mask = select_magnitude(weights, Unstructured{}, sparsity, scope);
          ASSERT_EQ(mask, select(scores, Unstructured{}, sparsity, scope));
          const Index stretch = scope == Scope::kRow ? cols : 5 * cols;
          ASSERT_TRUE(
              same_mask(mask, testing::keep_in_stretches(magnitudes<T>(weights), 5, cols, stretch,
                                                         stretch - testing::pruned_of(stretch, sparsity))));
        }
      }
    }
  }
}

// Halves up to 2, whose squares and sums are exact in any order.
template <class T>
Matrix<T> small_weights(Index rows, Index cols, std::mt19937& rng) {
  const T values[] = {testing::exactly<T>(0),   testing::exactly<T>(-0.5), testing::exactly<T>(1),
                      testing::exactly<T>(-1),  testing::exactly<T>(1.5),  testing::exactly<T>(2),
                      testing::exactly<T>(-0.0)};
  Matrix<T> weights(rows, cols);
  for (Index i = 0; i < weights.size(); ++i) weights.data()[i] = values[rng() % std::size(values)];
  return weights;
}

TYPED_TEST(Magnitude, BlocksAreWorthTheirNorm) {
  using T = TypeParam;
  for (const Block block :
       {Block{16, 16}, Block{4, 4}, Block{1, 8}, Block{8, 1}, Block{3, 5}, Block{2, 48}}) {
    const auto weights = small_weights<T>(3 * block.rows, 5 * block.cols, this->rng_);
    for (const BlockNorm norm : {BlockNorm::kL1, BlockNorm::kL2}) {
      Matrix<double> expected = Matrix<double>::Zero(3, 5);
      for (Index i = 0; i < weights.rows(); ++i) {
        for (Index j = 0; j < weights.cols(); ++j) {
          const double w = std::abs(value_of(weights(i, j)));
          expected(i / block.rows, j / block.cols) += norm == BlockNorm::kL1 ? w : w * w;
        }
      }
      ASSERT_TRUE(testing::same_bits(score::block_magnitude(weights, block, norm).values, expected));
      for (const double sparsity : testing::kSparsities) {
        for (const Scope scope : {Scope::kRow, Scope::kLayer}) {
          const Mask blocks = testing::reference_select(expected, sparsity, scope);
          ASSERT_TRUE(same_mask(select_magnitude(weights, block, sparsity, scope, norm),
                                testing::reference_expand(blocks, block)));
        }
      }
    }
  }
}

TEST(Magnitude, NormsDisagreeWhereTheyShould) {
  Matrix<float> weights(1, 4);
  weights << 3, 3, 5, 0;  // L1: 6 > 5; L2: 18 < 25
  EXPECT_EQ(select_magnitude(weights, Block{1, 2}, 0.5, Scope::kLayer, BlockNorm::kL1).row(0)[0], 0b0011u);
  EXPECT_EQ(select_magnitude(weights, Block{1, 2}, 0.5, Scope::kLayer, BlockNorm::kL2).row(0)[0], 0b1100u);
  EXPECT_EQ(select_magnitude(weights, Block{1, 2}, 0.5).row(0)[0], 0b1100u);
}

TEST(Magnitude, NormsByName) {
  EXPECT_EQ(parse_block_norm("l1"), BlockNorm::kL1);
  EXPECT_EQ(parse_block_norm("l2"), BlockNorm::kL2);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "expected l1 or l2", [] { parse_block_norm("L1"); }), "");
}

TYPED_TEST(Magnitude, InfinityStays) {
  using T = TypeParam;
  if constexpr (testing::format_of<T>().has_infinity) {
    const T infinity = testing::from_bits<T>(testing::BitsOf<T>(FloatBits<T>::kInfinityKey));
    Matrix<T> weights(1, 16);
    for (Index j = 0; j < 16; ++j) weights(0, j) = testing::exactly<T>(double(1 << j % 4));
    weights(0, 2) = infinity;
    for (const Pattern& pattern :
         {Pattern(NM{1, 4}), Pattern(NM{2, 8}), Pattern(Unstructured{}), Pattern(Block{1, 1})}) {
      EXPECT_TRUE(select_magnitude(weights, pattern, 0.75)(0, 2)) << to_string(pattern);
    }
  }
}

TYPED_TEST(Magnitude, NanIsRefusedWithItsPosition) {
  using T = TypeParam;
  for (const bool negative : {false, true}) {
    auto weights = testing::tied_matrix<T>(6, 16, this->rng_);
    weights(4, 9) = testing::quiet_nan<T>(negative);
    weights(4, 10) = weights(5, 0) = testing::quiet_nan<T>();
    for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(NM{4, 8}),
                                   Pattern(NM{8, 16}), Pattern(Block{2, 4})}) {
      for (const Scope scope : {Scope::kRow, Scope::kLayer}) {
        EXPECT_EQ(refusal(ErrorKind::kInput, "NaN at row 4, column 9",
                          [&] { select_magnitude(weights, pattern, 0.5, scope); }),
                  "")
            << to_string(pattern);
      }
    }
  }
}

TEST(Magnitude, RefusesWhatCannotBeMeant) {
  const Matrix<float> weights = Matrix<float>::Ones(6, 10);
  const auto refused = [&](ErrorKind kind, const char* text, const Pattern& pattern, double sparsity) {
    return refusal(kind, text, [&] { select_magnitude(weights, pattern, sparsity); });
  };
  EXPECT_EQ(refused(ErrorKind::kUsage, "0 <= sparsity < 1", Unstructured{}, 1.0), "");
  EXPECT_EQ(refused(ErrorKind::kUsage, "means sparsity 0.75", NM{1, 4}, 0.5), "");
  EXPECT_EQ(refused(ErrorKind::kInput, "10 columns are not a multiple of 4", NM{2, 4}, 0.5), "");
  EXPECT_EQ(refused(ErrorKind::kInput, "6 rows are not a multiple of 4", Block{4, 5}, 0.5), "");
  EXPECT_EQ(refused(ErrorKind::kInput, "10 columns are not a multiple of 4", Block{3, 4}, 0.5), "");
}

// Pruning what is pruned changes nothing.
TYPED_TEST(Magnitude, TwiceIsOnce) {
  using T = TypeParam;
  for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{4, 4})}) {
    auto once = testing::random_matrix<T>(8, 64, this->rng_);
    apply(select_magnitude(once, pattern, 0.5), once);
    Matrix<T> twice = once;
    apply(select_magnitude(twice, pattern, 0.5), twice);
    EXPECT_TRUE(testing::same_bits(once, twice)) << to_string(pattern);
  }
}

}  // namespace
}  // namespace prune
