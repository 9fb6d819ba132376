#include <prune/packed.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include <gmock/gmock.h>

#include <prune/score/magnitude.h>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

using ::testing::ElementsAre;
using testing::refusal;
using testing::same_bits;

// --- bytes by hand

Matrix<float> row_of(std::initializer_list<float> values) {
  Matrix<float> row(1, Index(values.size()));
  std::copy(values.begin(), values.end(), row.data());
  return row;
}

TEST(PackedBytes, TwoOfFourIsANibbleAGroup) {
  // The example of docs/formats.md: groups 1 + 4 * 3 = 0xD and 0 + 4 * 3 = 0xC, the low nibble first.
  const auto packed = pack_nm(row_of({0, 5, 0, -7, 1, 0, 0, 2}), NM{2, 4});
  EXPECT_THAT(packed.values, ElementsAre(5, -7, 1, 2));
  EXPECT_THAT(packed.indices, ElementsAre(0xCD));
}

TEST(PackedBytes, TwoOfFourPadsAHalfByte) {
  const auto packed = pack_nm(row_of({0, 0, 3, 4, 1, 2, 0, 0, 0, 8, 9, 0}), NM{2, 4});
  EXPECT_THAT(packed.values, ElementsAre(3, 4, 1, 2, 8, 9));
  EXPECT_THAT(packed.indices, ElementsAre(0x4E, 0x09));
}

TEST(PackedBytes, AGroupWithFewNonzerosStoresItsFirstZeros) {
  const auto packed = pack_nm(row_of({0, 0, 5, 0, 0, 0, 0, 0}), NM{2, 4});
  EXPECT_THAT(packed.values, ElementsAre(0, 5, 0, 0));
  EXPECT_THAT(packed.indices, ElementsAre(0x48));  // columns 0, 2 and 0, 1
}

TEST(PackedBytes, FourOfEightHasThreeBitsAnIndex) {
  // Columns 0 2 5 7 and 1 3 4 6: bits, lowest first, 000 010 101 111 | 001 011 100 110 of three bits each.
  const auto packed = pack_nm(row_of({1, 0, 2, 0, 0, 3, 0, 4, 0, 5, 0, 6, 7, 0, 8, 0}), NM{4, 8});
  EXPECT_THAT(packed.values, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  const uint32_t bits = 0u | 2u << 3 | 5u << 6 | 7u << 9 | 1u << 12 | 3u << 15 | 4u << 18 | 6u << 21;
  EXPECT_THAT(packed.indices, ElementsAre(bits & 0xFF, bits >> 8 & 0xFF, bits >> 16));
  EXPECT_THAT(packed.indices, ElementsAre(0x50, 0x9F, 0xD1));
}

TEST(PackedBytes, OneOfFourAndOneOfTwo) {
  EXPECT_THAT(pack_nm(row_of({0, 0, 0, 9, 0, 0, 8, 0}), NM{1, 4}).indices, ElementsAre(0b1011));
  EXPECT_THAT(pack_nm(row_of({0, 9, 8, 0, 0, 7}), NM{1, 2}).indices, ElementsAre(0b101));
}

TEST(PackedBytes, EachRowOfIndicesStartsAtAByte) {
  Matrix<float> weights(2, 4);
  weights << 0, 0, 1, 2,  //
      0, 3, 0, 4;
  EXPECT_THAT(pack_nm(weights, NM{2, 4}).indices, ElementsAre(0x0E, 0x0D));
}

TEST(PackedBytes, IndexBits) {
  EXPECT_EQ(index_bits(2), 1);
  EXPECT_EQ(index_bits(3), 2);
  EXPECT_EQ(index_bits(4), 2);
  EXPECT_EQ(index_bits(5), 3);
  EXPECT_EQ(index_bits(8), 3);
  EXPECT_EQ(index_bits(9), 4);
  EXPECT_EQ(index_bits(32), 5);
  EXPECT_EQ(index_bytes_per_row(NM{2, 4}, 4096), 512);
  EXPECT_EQ(index_bytes_per_row(NM{2, 4}, 4), 1);
  EXPECT_EQ(index_bytes_per_row(NM{4, 8}, 8), 2);
  EXPECT_EQ(index_bytes_per_row(NM{31, 32}, 64), 39);
  EXPECT_EQ(index_bytes_per_row(NM{2, 4}, 0), 0);
}

TEST(PackedBytes, Bitmask) {
  Matrix<float> weights(2, 10);
  weights << 0, 5, 0, -7, 1, 0, 0, 2, 0, 3,  //
      0, 0, 0, 0, 0, 0, 0, 0, 4, 0;
  const auto packed = pack_bitmask(weights);
  EXPECT_THAT(packed.values, ElementsAre(5, -7, 1, 2, 3, 4));
  EXPECT_THAT(packed.bitmask, ElementsAre(0x9A, 0x02, 0x00, 0x01));
  EXPECT_THAT(packed.row_offsets, ElementsAre(0, 5, 6));
}

TEST(PackedBytes, Csr) {
  Matrix<float> weights(3, 4);
  weights << 0, 5, 0, 7,  //
      0, 0, 0, 0,         //
      1, 0, 0, 2;
  const auto packed = pack_csr(weights);
  EXPECT_THAT(packed.values, ElementsAre(5, 7, 1, 2));
  EXPECT_THAT(packed.indices, ElementsAre(1, 3, 0, 3));
  EXPECT_THAT(packed.indptr, ElementsAre(0, 2, 2, 4));
}

TEST(PackedBytes, Bsr) {
  Matrix<float> weights(4, 6);
  weights << 0, 0, 0, 1, 2, 3,  //
      0, 0, 0, 4, 5, 6,         //
      7, 0, 0, 0, 0, 0,         //
      0, 0, 8, 0, 0, 9;
  const auto packed = pack_bsr(weights, Block{2, 3});
  EXPECT_THAT(packed.values, ElementsAre(1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 9));
  EXPECT_THAT(packed.indices, ElementsAre(1, 0, 1));
  EXPECT_THAT(packed.indptr, ElementsAre(0, 1, 3));
}

// Two rows of 70 columns, one place in every window: the second weight of a window goes to the tail.
TEST(PackedBytes, Windows) {
  Matrix<float> weights = Matrix<float>::Zero(2, 70);
  weights(0, 3) = 1, weights(0, 9) = 2, weights(0, 64) = 3;
  weights(1, 63) = 4;
  const auto packed = pack_windows(weights, 1);
  std::vector<float> values(64 + 4);  // two pairs of windows of sixteen rows, and the tail
  std::vector<uint8_t> columns(64);
  values[0] = 1, columns[0] = 3;
  values[32] = 3, columns[32] = 0;
  values[16 + 1] = 4, columns[16 + 1] = 31;
  values[64] = 2;
  EXPECT_EQ(packed.values, values);
  EXPECT_EQ(packed.columns, columns);
  EXPECT_THAT(packed.tail_columns, ElementsAre(9, 0, 0, 0));
  EXPECT_THAT(packed.tail_counts, ElementsAre(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
}

// --- there and back

template <class T>
class Packed : public ::testing::Test {
 protected:
  // Random bits pruned to a pattern; kept -0 among them.
  Matrix<T> pruned(Index rows, Index cols, const Pattern& pattern, double sparsity) {
    Matrix<T> weights = testing::random_matrix<T>(rows, cols, rng_);
    const T negative_zero = testing::exactly<T>(-0.0);
    for (Index i = 0; i < weights.size(); i += 3) weights.data()[i] = negative_zero;
    apply(select_magnitude(weights, pattern, sparsity), weights);
    return weights;
  }

  std::mt19937 rng_{testing::test_seed()};
};
TYPED_TEST_SUITE(Packed, testing::AllTypes);

TYPED_TEST(Packed, EveryNmRoundTrips) {
  using T = TypeParam;
  for (int group = 2; group <= 32; ++group) {
    for (int keep = 1; keep < group; ++keep) {
      const NM pattern{keep, group};
      const auto weights = this->pruned(2, group * 5, pattern, 1.0 - double(keep) / group);
      const NmPacked<T> packed = pack_nm(weights, pattern);
      ASSERT_EQ(packed.values.size(), size_t(2 * 5 * keep));
      ASSERT_EQ(packed.indices.size(), size_t(2 * ((5 * keep * index_bits(group) + 7) / 8)));
      ASSERT_TRUE(same_bits(unpack(packed), weights)) << keep << ":" << group;
    }
  }
}

// What docs/formats.md says, a weight and a bit at a time.
template <class T>
NmPacked<T> pack_nm_by_definition(const Matrix<T>& weights, NM pattern) {
  NmPacked<T> packed{pattern, weights.rows(), weights.cols(), {}, {}};
  const auto rank = [](const T& w) { return !is_zero(w) ? 0 : bit_pattern(w) != 0 ? 1 : 2; };
  for (Index i = 0; i < weights.rows(); ++i) {
    std::vector<bool> bits;
    for (Index left = 0; left < weights.cols(); left += pattern.group) {
      std::vector<Index> columns(size_t(pattern.group));
      std::iota(columns.begin(), columns.end(), 0);
      std::ranges::stable_sort(columns, {}, [&](Index c) { return rank(weights(i, left + c)); });
      std::sort(columns.begin(), columns.begin() + pattern.keep);
      for (int t = 0; t < pattern.keep; ++t) {
        packed.values.push_back(weights(i, left + columns[size_t(t)]));
        for (int b = 0; b < index_bits(pattern.group); ++b) bits.push_back(columns[size_t(t)] >> b & 1);
      }
    }
    bits.resize((bits.size() + 7) / 8 * 8);
    for (size_t b = 0; b < bits.size(); b += 8) {
      unsigned byte = 0;
      for (size_t j = 0; j < 8; ++j) byte |= unsigned(bits[b + j]) << j;
      packed.indices.push_back(uint8_t(byte));
    }
  }
  return packed;
}

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Groups of few weights, too, -0 and NaN among them.
TYPED_TEST(Packed, NmIsAsDefined) {
  using T = TypeParam;
  const T nan = testing::from_bits<T>(testing::BitsOf<T>(~testing::BitsOf<T>(0))),
          negative_zero = testing::exactly<T>(-0.0);
  for (const NM pattern :
       {NM{2, 4}, NM{1, 4}, NM{3, 4}, NM{4, 8}, NM{2, 8}, NM{1, 2}, NM{5, 7}, NM{8, 16}, NM{31, 32}}) {
    for (const Index groups : {1, 2, 15, 16, 17, 67}) {
      Matrix<T> weights =
          this->pruned(3, groups * pattern.group, pattern, 1 - double(pattern.keep) / pattern.group);
      for (Index i = 0; i < weights.size(); ++i) {
        if (is_zero(weights.data()[i])) continue;
        const auto draw = this->rng_() % 8;
        if (draw < 2) weights.data()[i] = draw == 0 ? negative_zero : T{};
        if (draw == 2) weights.data()[i] = nan;
      }
      const NmPacked<T> packed = pack_nm(weights, pattern), wanted = pack_nm_by_definition(weights, pattern);
      ASSERT_TRUE(same_bytes(packed.values, wanted.values)) << to_string(Pattern(pattern)) << ", " << groups;
      ASSERT_EQ(packed.indices, wanted.indices) << to_string(Pattern(pattern)) << ", " << groups;
    }
  }
}

TYPED_TEST(Packed, ABitmaskEndsWithItsLastColumn) {
  Matrix<TypeParam> w = this->pruned(3, 13, Unstructured{}, 0.5);
  BitmaskPacked<TypeParam> packed = pack_bitmask(w);
  for (size_t row = 0; row < 3; ++row) packed.bitmask[2 * row + 1] |= 0xe0;  // no columns
  const Matrix<TypeParam> back = unpack(packed);
  EXPECT_EQ(std::memcmp(back.data(), w.data(), size_t(w.size()) * sizeof(TypeParam)), 0);
}

TYPED_TEST(Packed, BitmaskAndCsrRoundTrip) {
  for (const Index cols : {1, 7, 8, 9, 63, 64, 65, 129}) {
    for (const double sparsity : {0.0, 0.5, 0.9}) {
      const auto weights = this->pruned(5, cols, Unstructured{}, sparsity);
      ASSERT_TRUE(same_bits(unpack(pack_bitmask(weights)), weights)) << cols;
      ASSERT_TRUE(same_bits(unpack(pack_csr(weights)), weights)) << cols;
      for (const Index steps : {0, 1, 4, 32})
        ASSERT_TRUE(same_bits(unpack(pack_windows(weights, steps)), weights)) << cols << ", " << steps;
    }
  }
}

TYPED_TEST(Packed, BsrRoundTrips) {
  for (const Block block :
       {Block{1, 1}, Block{16, 16}, Block{4, 1}, Block{1, 7}, Block{3, 5}, Block{2, 64}}) {
    for (const double sparsity : {0.0, 0.5, 0.8}) {
      const auto weights = this->pruned(block.rows * 4, block.cols * 3, block, sparsity);
      ASSERT_TRUE(same_bits(unpack(pack_bsr(weights, block)), weights)) << to_string(Pattern(block));
    }
  }
}

TYPED_TEST(Packed, RowsMayLieApart) {
  using T = TypeParam;
  Matrix<T> wide = this->pruned(6, 24, NM{2, 4}, 0.5);
  for (Index i = 0; i < 6; ++i) {
    for (Index j = 16; j < 24; ++j)
      wide(i, j) = testing::exactly<T>(1);  // breaks the pattern beside the view
  }
  const Matrix<T> weights = wide.leftCols(16);
  EXPECT_TRUE(same_bits(unpack(pack_nm(wide.leftCols(16), NM{2, 4})), weights));
  EXPECT_TRUE(same_bits(unpack(pack_bitmask(wide.leftCols(16))), weights));
  EXPECT_TRUE(same_bits(unpack(pack_csr(wide.leftCols(16))), weights));
  EXPECT_TRUE(same_bits(unpack(pack_bsr(wide.leftCols(16), Block{2, 4})), weights));
}

TYPED_TEST(Packed, NothingAndAllZeros) {
  using T = TypeParam;
  for (const auto& [rows, cols] : {std::pair(0, 8), std::pair(4, 0), std::pair(0, 0), std::pair(4, 8)}) {
    const Matrix<T> zeros = detail::zeros<T>(rows, cols);
    EXPECT_TRUE(same_bits(unpack(pack_nm(zeros, NM{2, 4})), zeros));
    EXPECT_TRUE(same_bits(unpack(pack_bitmask(zeros)), zeros));
    EXPECT_TRUE(same_bits(unpack(pack_csr(zeros)), zeros));
    EXPECT_TRUE(same_bits(unpack(pack_windows(zeros, 2)), zeros));
    EXPECT_TRUE(same_bits(unpack(pack_bsr(zeros, Block{2, 4})), zeros));
    EXPECT_EQ(pack_bitmask(zeros).values.size(), 0u);
    EXPECT_EQ(pack_csr(zeros).indptr.size(), size_t(rows + 1));
    EXPECT_EQ(pack_bsr(zeros, Block{2, 4}).indptr.size(), size_t(rows / 2 + 1));
  }
}

// -0 is stored by the formats that store what is not +0; in an N:M group it takes the places that nonzeros
// leave.
TYPED_TEST(Packed, NegativeZeroSurvives) {
  using T = TypeParam;
  const T negative_zero = testing::exactly<T>(-0.0), one = testing::exactly<T>(1);
  Matrix<T> weights = detail::zeros<T>(1, 4);
  weights(0, 1) = one;
  weights(0, 3) = negative_zero;
  EXPECT_TRUE(same_bits(unpack(pack_nm(weights, NM{2, 4})), weights));
  EXPECT_TRUE(same_bits(unpack(pack_bitmask(weights)), weights));
  EXPECT_TRUE(same_bits(unpack(pack_csr(weights)), weights));
  EXPECT_TRUE(same_bits(unpack(pack_windows(weights, 1)), weights));
  EXPECT_TRUE(same_bits(unpack(pack_bsr(weights, Block{1, 2})), weights));
  EXPECT_EQ(pack_csr(weights).values.size(), 2u);

  weights(0, 0) = one;  // no place is left: the sign of a zero is what an N:M group may lose
  Matrix<T> expected = weights;
  expected(0, 3) = testing::exactly<T>(0);
  EXPECT_TRUE(same_bits(unpack(pack_nm(weights, NM{2, 4})), expected));
}

TYPED_TEST(Packed, RefusesAGroupThatIsTooFull) {
  using T = TypeParam;
  Matrix<T> weights = detail::zeros<T>(3, 16);
  for (const Index j : {8, 10, 11}) weights(2, j) = testing::exactly<T>(1);
  EXPECT_EQ(refusal(ErrorKind::kInput, "row 2, columns 8 to 11: 3 weights are not zero, pattern 2:4 allows 2",
                    [&] {
                      pack_nm(weights, NM{2, 4});
                    }),
            "");
  EXPECT_TRUE(same_bits(unpack(pack_nm(weights, NM{3, 8})), weights));
}

TEST(Packed, RefusesShapesThatDoNotDivide) {
  const Matrix<float> weights = Matrix<float>::Zero(6, 10);
  EXPECT_EQ(refusal(ErrorKind::kInput, "10 columns are not a multiple of 4",
                    [&] {
                      pack_nm(weights, NM{2, 4});
                    }),
            "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "6 rows are not a multiple of 4",
                    [&] {
                      pack_bsr(weights, Block{4, 5});
                    }),
            "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "10 columns are not a multiple of 3",
                    [&] {
                      pack_bsr(weights, Block{2, 3});
                    }),
            "");
}

}  // namespace
}  // namespace prune
