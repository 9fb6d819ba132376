#include <prune/mask.h>

#include <random>
#include <vector>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

using testing::bits_of;
using testing::refusal;

constexpr Index kWidths[] = {1, 7, 8, 63, 64, 65, 129};

// A mask and the same bits the plain way.
struct Bits {
  Mask mask;
  std::vector<std::vector<bool>> plain;
};

Bits random_bits(Index rows, Index cols, std::mt19937& rng) {
  Bits bits{Mask(rows, cols), std::vector(size_t(rows), std::vector<bool>(size_t(cols)))};
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols; ++j) {
      const bool keep = rng() % 3 != 0;
      bits.mask.set(i, j, keep);
      bits.plain[size_t(i)][size_t(j)] = keep;
    }
  }
  return bits;
}

TEST(Mask, StartsEmpty) {
  const Mask mask(3, 65);
  EXPECT_EQ(mask.rows(), 3);
  EXPECT_EQ(mask.cols(), 65);
  EXPECT_EQ(mask.size(), 195);
  EXPECT_EQ(mask.count(), 0);
  EXPECT_EQ(mask.sparsity(), 1.0);
  EXPECT_EQ(Mask(0, 5).sparsity(), 0.0);
  EXPECT_EQ(Mask(5, 0).count(), 0);
}

TEST(Mask, SetAndGet) {
  std::mt19937 rng(testing::test_seed());
  for (const Index cols : kWidths) {
    Bits bits = random_bits(3, cols, rng);
    for (Index i = 0; i < 3; ++i) {
      for (Index j = 0; j < cols; ++j) EXPECT_EQ(bits.mask(i, j), bits.plain[size_t(i)][size_t(j)]);
    }
    bits.mask.set(1, cols - 1, true);
    EXPECT_TRUE(bits.mask(1, cols - 1));
    bits.mask.set(1, cols - 1, false);
    EXPECT_FALSE(bits.mask(1, cols - 1));
    EXPECT_EQ(bits.mask(0, cols - 1), bits.plain[0][size_t(cols - 1)]);
    EXPECT_EQ(bits.mask(2, 0), bits.plain[2][0]);
  }
}

TEST(Mask, ColumnJIsBitJOfTheRow) {
  Mask mask(2, 70);
  mask.set(1, 0, true);
  mask.set(1, 9, true);
  mask.set(1, 69, true);
  EXPECT_EQ(mask.row(1)[0], (uint64_t(1) << 9) | 1);
  EXPECT_EQ(mask.row(1)[1], uint64_t(1) << 5);
  EXPECT_EQ(mask.row(0)[0], 0u);
}

TEST(Mask, CountsAnyStretchOfARow) {
  std::mt19937 rng(testing::test_seed());
  for (const Index cols : kWidths) {
    const Bits bits = random_bits(2, cols, rng);
    int64_t total = 0;
    for (Index i = 0; i < 2; ++i) {
      const std::vector<bool>& row = bits.plain[size_t(i)];
      for (Index begin = 0; begin <= cols; ++begin) {
        Index expected = 0;
        for (Index end = begin; end <= cols; ++end) {
          ASSERT_EQ(bits.mask.count_in_row(i, begin, end), expected)
              << begin << " to " << end << " of " << cols;
          if (end < cols) expected += row[size_t(end)];
        }
      }
      const auto whole = std::count(row.begin(), row.end(), true);
      EXPECT_EQ(bits.mask.count_in_row(i), whole);
      total += whole;
    }
    EXPECT_EQ(bits.mask.count(), total);
    EXPECT_DOUBLE_EQ(bits.mask.sparsity(), 1.0 - double(total) / double(2 * cols));
  }
}

TEST(Mask, EqualWhenAllBitsAre) {
  Mask a(2, 65), b(2, 65);
  EXPECT_EQ(a, b);
  a.set(1, 64, true);
  EXPECT_NE(a, b);
  b.set(1, 64, true);
  EXPECT_EQ(a, b);
  EXPECT_NE(Mask(2, 3), Mask(3, 2));
}

template <class T>
class Apply : public ::testing::Test {};
TYPED_TEST_SUITE(Apply, testing::AllTypes);

// Everything that is kept keeps its bits, the sign of zero, infinity and NaN among them; the rest is +0.
template <class T, class M>
void expect_applied(const Bits& bits, const Matrix<T>& before, const M& after) {
  for (Index i = 0; i < before.rows(); ++i) {
    for (Index j = 0; j < before.cols(); ++j) {
      const auto expected = bits.plain[size_t(i)][size_t(j)] ? bits_of(before(i, j)) : testing::BitsOf<T>(0);
      ASSERT_EQ(bits_of(after.data()[i * after.outerStride() + j]), expected) << i << ", " << j;
    }
  }
}

template <class T>
Matrix<T> with_nans(Index rows, Index cols, std::mt19937& rng) {
  Matrix<T> m = testing::tied_matrix<T>(rows, cols, rng);
  for (Index i = 0; i < m.size(); i += 5) m.data()[i] = testing::quiet_nan<T>(i % 2 == 0);
  return m;
}

TYPED_TEST(Apply, ApartAndInPlace) {
  using T = TypeParam;
  std::mt19937 rng(testing::test_seed());
  for (const Index cols : kWidths) {
    const Bits bits = random_bits(3, cols, rng);
    const Matrix<T> before = with_nans<T>(3, cols, rng);
    Matrix<T> apart = testing::random_matrix<T>(3, cols, rng);
    apply(bits.mask, before, apart);
    expect_applied(bits, before, apart);
    Matrix<T> in_place = before;
    apply(bits.mask, in_place);
    expect_applied(bits, before, in_place);
  }
}

TYPED_TEST(Apply, LeavesWhatLiesBetweenTheRows) {
  using T = TypeParam;
  std::mt19937 rng(testing::test_seed());
  for (const Index cols : kWidths) {
    const Bits bits = random_bits(3, cols, rng);
    const Matrix<T> wide = with_nans<T>(3, cols + 3, rng);
    const Matrix<T> before = wide.middleCols(1, cols);
    Matrix<T> target = wide;
    apply(bits.mask, before, target.middleCols(1, cols));
    expect_applied(bits, before, target.middleCols(1, cols));
    for (const Index j : {Index(0), cols + 1, cols + 2}) {
      for (Index i = 0; i < 3; ++i) ASSERT_EQ(bits_of(target(i, j)), bits_of(wide(i, j)));
    }
  }
}

// Tensors of a file may lie at any address.
TYPED_TEST(Apply, AtAnyAddress) {
  using T = TypeParam;
  using Bytes = testing::BitsOf<T>;
  std::mt19937 rng(testing::test_seed());
  constexpr Index kCols = 21;
  const Bits bits = random_bits(1, kCols, rng);
  const Matrix<T> before = with_nans<T>(1, kCols, rng);
  for (size_t from = 0; from < 3; ++from) {
    for (size_t to = 0; to < 3; ++to) {
      std::vector<std::byte> source(kCols * sizeof(T) + 3), target(source.size() + 1, std::byte(0xAB));
      std::memcpy(source.data() + from, before.data(), kCols * sizeof(T));
      detail::apply_row<Bytes>(source.data() + from, bits.mask.row(0).data(), kCols, target.data() + to);
      Matrix<T> after(1, kCols);
      std::memcpy(static_cast<void*>(after.data()), target.data() + to, kCols * sizeof(T));
      expect_applied(bits, before, after);
      EXPECT_EQ(target[to + kCols * sizeof(T)], std::byte(0xAB));
    }
  }
}

TYPED_TEST(Apply, TwiceIsOnce) {
  using T = TypeParam;
  std::mt19937 rng(testing::test_seed());
  const Bits bits = random_bits(4, 65, rng);
  Matrix<T> once = with_nans<T>(4, 65, rng);
  apply(bits.mask, once);
  Matrix<T> twice = once;
  apply(bits.mask, twice);
  EXPECT_TRUE(testing::same_bits(once, twice));
}

// Scores are often of another type than the weights that they choose.
TYPED_TEST(Apply, AMaskFromScoresOfAnotherType) {
  using T = TypeParam;
  std::mt19937 rng(testing::test_seed());
  Matrix<double> scores(3, 64);
  for (Index i = 0; i < scores.size(); ++i) scores.data()[i] = double(rng() % 7);
  Bits bits{select(scores, NM{2, 4}, 0.5), {}};
  bits.plain.resize(3);
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j < 64; ++j) bits.plain[size_t(i)].push_back(bits.mask(i, j));
  }
  const Matrix<T> before = with_nans<T>(3, 64, rng);
  Matrix<T> after = before;
  apply(bits.mask, after);
  expect_applied(bits, before, after);
}

TYPED_TEST(Apply, NonzeroMask) {
  using T = TypeParam;
  std::mt19937 rng(testing::test_seed());
  for (const Index cols : kWidths) {
    const Matrix<T> wide = testing::tied_matrix<T>(3, cols + 2, rng);
    const Mask mask = nonzero_mask(wide.leftCols(cols));
    for (Index i = 0; i < 3; ++i) {
      for (Index j = 0; j < cols; ++j) ASSERT_EQ(mask(i, j), testing::value_of(wide(i, j)) != 0.0);
    }
  }
}

TEST(Mask, ApplyRefusesOtherShapes) {
  const Mask mask(2, 3);
  const Matrix<float> right = Matrix<float>::Ones(2, 3);
  for (const auto& [rows, cols] : {std::pair(3, 2), std::pair(2, 4), std::pair(1, 3)}) {
    Matrix<float> wrong = Matrix<float>::Ones(rows, cols);
    EXPECT_EQ(refusal(ErrorKind::kUsage, "same shape", [&] { apply(mask, wrong); }), "");
    EXPECT_EQ(refusal(ErrorKind::kUsage, "same shape", [&] { apply(mask, right, wrong); }), "");
    EXPECT_TRUE((wrong.array() == 1).all());
  }
}

}  // namespace
}  // namespace prune
