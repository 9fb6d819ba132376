// find_fault is what stands between a damaged file and the kernels.
#include "kernels/sparse/weights.h"

#include <algorithm>
#include <utility>

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

TEST(FindFault, Windows) {
  std::mt19937 rng(test_seed());
  TestMatrix m = random_matrix(20, 70, WeightType::kBf16, {.density = 0.2}, rng);
  std::fill_n(m.weights.begin(), m.cols, 0.0f);
  for (const int64_t k : {0, 1, 5, 6, 66, 67, 68}) m.weights[k] = 1;  // of row 0
  PackedWindows packed(m, 2);
  const int64_t count = packed.values.size();
  EXPECT_EQ(find_fault(packed.view, count), nullptr);
  const auto fault = [&](const char* message, auto& element, auto wrong) {
    const auto kept = std::exchange(element, wrong);
    EXPECT_THAT(find_fault(packed.view, count), StrEq(message));
    element = kept;
  };
  EXPECT_THAT(find_fault(packed.view, count + 4), StrEq("tails do not add up to the values"));
  EXPECT_THAT(find_fault(packed.view, count - 4), StrEq("tails do not add up to the values"));
  fault("not 0 to 32 steps", packed.view.steps, 33);
  fault("more than 65536 columns", packed.view.cols, 65537);
  fault("tails do not add up to the values", packed.tail_counts[0], 71 - 1);
  const char* counts = "a row's tail is negative, longer than a row, or of no row";
  fault(counts, packed.tail_counts[0], -1);
  fault(counts, packed.tail_counts[0], 71);
  fault(counts, packed.tail_counts[20], 1);
  // Row 0 has columns 0 and 1 in places 0 and 32, 66 and 67 in 64 and 96, others in the tail.
  const char* places = "a column is beyond its window or does not ascend in it";
  fault(places, packed.columns[0], 32);
  fault(places, packed.columns[0], 1);
  fault(places, packed.columns[32], 0);
  fault("a weight is behind the last column", packed.columns[96], 6);
  const char* tail = "columns of the tail do not ascend, or are not behind those of their window";
  fault("a column of the tail is out of range", packed.tail_columns[0], 70);
  fault(tail, packed.tail_columns[0], 1);
  fault(tail, packed.tail_columns[1], 5);
  // 20 rows, so row 4 of the second group is none.
  packed.view.rows = 19;
  const bool has_tail = packed.tail_counts[19] > 0;
  EXPECT_THAT(find_fault(packed.view, count),
              StrEq(has_tail ? counts : "a weight is in a row behind the last"));
}

// A row that counts one weight less than it has must not lose it.
TEST(FindFault, WindowsWithUncountedWeights) {
  TestMatrix m{1, 64, WeightType::kBf16, std::vector<float>(64), {}};
  for (const int64_t k : {0, 1, 2, 35}) m.weights[k] = 1;
  PackedWindows packed(m, 0);
  EXPECT_EQ(find_fault(packed.view, 4), nullptr);
  packed.tail_counts[0] = 3;
  const char* fault = "tails end with weights that no row counts";
  EXPECT_THAT(find_fault(packed.view, 4), StrEq(fault));
  packed.tail_counts[0] = 0;
  EXPECT_THAT(find_fault(packed.view, 4), StrEq("tails do not add up to the values"));

  m.weights[35] = 0;
  PackedWindows padded(m, 0);
  EXPECT_EQ(find_fault(padded.view, 4), nullptr);
  EXPECT_THAT(find_fault(padded.view, 3), StrEq("tails do not add up to the values"));
  padded.tail_columns[3] = 35;
  EXPECT_THAT(find_fault(padded.view, 4), StrEq(fault));
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
