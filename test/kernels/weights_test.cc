// find_fault is what stands between a damaged file and the kernels.
#include "kernels/sparse/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/kernels/packing.h"

namespace prune::kernels {
namespace {

using testing::StrEq;

TestMatrix small_matrix(Sparsity sparsity) {
  std::mt19937 rng(test_seed());
  return random_matrix(8, 16, WeightType::kF32, sparsity, rng);
}

TEST(NmIndices, Sizes) {
  EXPECT_EQ(nm_index_bits(2), 1);
  EXPECT_EQ(nm_index_bits(3), 2);
  EXPECT_EQ(nm_index_bits(4), 2);
  EXPECT_EQ(nm_index_bits(5), 3);
  EXPECT_EQ(nm_index_bits(32), 5);
  EXPECT_EQ(nm_row_bytes(16, 2, 4), 2);
  EXPECT_EQ(nm_row_bytes(12, 2, 4), 2);
  EXPECT_EQ(nm_row_bytes(64, 1, 32), 2);
}

TEST(NmIndices, TwoOfFourIsANibblePerGroup) {
  TestMatrix m{1, 8, WeightType::kF32, {0, 1, 0, 2, 3, 0, 4, 0}, {}};
  const PackedNm packed(m, 2, 4);
  // Group 0 keeps 1 and 3, group 1 keeps 0 and 2.
  EXPECT_THAT(packed.indices, testing::ElementsAre((1 + 4 * 3) | (0 + 4 * 2) << 4));
}

TEST(FindFault, Nm) {
  const TestMatrix m = small_matrix({.keep = 2, .group = 4});
  PackedNm packed(m, 2, 4);
  const int64_t count = packed.values.size(), bytes = static_cast<int64_t>(packed.indices.size());
  EXPECT_EQ(find_fault(packed.view, count, bytes), nullptr);
  EXPECT_THAT(find_fault(packed.view, count - 1, bytes), StrEq("values do not match the shape"));
  EXPECT_THAT(find_fault(packed.view, count, bytes + 1), StrEq("indices do not match the shape"));
  NmWeights bad = packed.view;
  bad.cols = 15;
  EXPECT_THAT(find_fault(bad, count, bytes), StrEq("columns are not a multiple of the group"));
  bad = packed.view;
  bad.group = 33;
  EXPECT_THAT(find_fault(bad, count, bytes), StrEq("not an N:M pattern up to 32"));
  packed.indices[3] = 0x11 * (2 + 4 * 1);  // 2 before 1
  EXPECT_THAT(find_fault(packed.view, count, bytes), StrEq("indices are not ascending within their group"));
}

TEST(FindFault, IndexPastAGroupThatIsNoPowerOfTwo) {
  std::mt19937 rng(test_seed());
  const TestMatrix m = random_matrix(4, 12, WeightType::kF32, {.keep = 1, .group = 3}, rng);
  PackedNm packed(m, 1, 3);
  packed.indices[0] |= 3;
  EXPECT_THAT(find_fault(packed.view, packed.values.size(), packed.indices.size()),
              StrEq("indices are not ascending within their group"));
}

TEST(FindFault, Bitmask) {
  const TestMatrix m = small_matrix({.density = 0.5});
  PackedBitmask packed(m);
  const int64_t count = packed.values.size();
  EXPECT_EQ(find_fault(packed.view, count), nullptr);
  EXPECT_THAT(find_fault(packed.view, count + 1), StrEq("row offsets do not end at the number of values"));
  packed.bitmask[5] ^= 1;
  EXPECT_THAT(find_fault(packed.view, count), StrEq("bitmask and row offsets disagree"));
  packed.bitmask[5] ^= 1;
  packed.row_offsets[3] = count + 7;
  EXPECT_THAT(find_fault(packed.view, count), StrEq("row offsets go back"));
  packed.row_offsets[0] = 1;
  EXPECT_THAT(find_fault(packed.view, count), StrEq("row offsets do not start at 0"));
}

TEST(FindFault, BitmaskPastTheLastColumn) {
  TestMatrix m{1, 9, WeightType::kF32, {0, 0, 0, 0, 0, 0, 0, 0, 1}, {}};
  PackedBitmask packed(m);
  packed.bitmask[1] = 2;
  EXPECT_THAT(find_fault(packed.view, 1), StrEq("bitmask has bits past the last column"));
}

TEST(FindFault, Csr) {
  const TestMatrix m = small_matrix({.density = 1.0});
  PackedCsr packed(m);
  const int64_t count = packed.values.size();
  EXPECT_EQ(find_fault(packed.view, count), nullptr);
  for (const int32_t wrong : {-1, 2, 16}) {
    packed.indices[3] = wrong;
    EXPECT_THAT(find_fault(packed.view, count), StrEq("column indices are not ascending within the row"));
  }
}

TEST(FindFault, Bsr) {
  const TestMatrix m = small_matrix({.density = 1.0, .block_rows = 4, .block_cols = 8});
  PackedBsr packed(m, 4, 8);
  const int64_t count = packed.values.size();
  EXPECT_EQ(find_fault(packed.view, count), nullptr);
  EXPECT_THAT(find_fault(packed.view, count + 1), StrEq("values are not whole blocks"));
  BsrWeights bad = packed.view;
  bad.block_rows = 3;
  EXPECT_THAT(find_fault(bad, count), StrEq("shape is not a multiple of the block"));
  bad.block_rows = 0;
  EXPECT_THAT(find_fault(bad, count), StrEq("empty blocks"));
  packed.indices[1] = 2;
  EXPECT_THAT(find_fault(packed.view, count), StrEq("column indices are not ascending within the row"));
}

}  // namespace
}  // namespace prune::kernels
