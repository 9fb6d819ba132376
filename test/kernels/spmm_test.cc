// Every kernel of every kernels.inc against a product in double precision.
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/sparse/many_rows.h"
#include "test/kernels/kernel_test.h"

namespace prune::kernels {
namespace {

// That a plan in place holds once it has run.
size_t own_bytes(const Plan& plan) {
  plan.workspace_bytes(1);
  return plan.own_bytes();
}

class NmKernelTest : public KernelTest {};
class BitmaskKernelTest : public KernelTest {};
class InPlaceKernelTest : public KernelTest {};
class StagedKernelTest : public KernelTest {};
class CsrKernelTest : public KernelTest {};
class GemvKernelTest : public KernelTest {};
class WindowsKernelTest : public KernelTest {};
class BsrKernelTest : public KernelTest {};
class RowListsKernelTest : public KernelTest {};
class PatternListsKernelTest : public KernelTest {};

constexpr std::pair<int64_t, int64_t> kShapes[] = {{1, 4},   {3, 16},   {4, 32},    {5, 60},  {7, 64},
                                                   {16, 68}, {33, 128}, {130, 132}, {67, 260}};
constexpr double kDensities[] = {0.0, 1.0 / 16, 0.5, 1.0};

TEST_P(NmKernelTest, TwoOfFour) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const auto& [rows, cols] : kShapes) {
      const TestMatrix m = random_matrix(rows, cols, type, {.keep = 2, .group = 4}, rng_);
      const PackedNm packed(m, 2, 4);
      ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1, 2, 3, 4, 5, 8, 17, 33}));
    }
  }
}

TEST_P(BitmaskKernelTest, Densities) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const double density : kDensities) {
      for (const auto& [rows, cols] : kShapes) {
        const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = density}, rng_);
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedBitmask(m).view, {1, 2, 3, 7, 17}));
      }
    }
  }
}

// Rows longer than the loop's step, and whose ends are the arrays' ends.
TEST_P(InPlaceKernelTest, EveryPattern) {
  options_.in_place = true;
  const std::vector<int64_t> batches{1, 2, 3, 7, 17};
  for (const WeightType type : types_of(GetParam().name)) {
    for (const auto& [rows, cols] : {std::pair{1, 4}, {3, 60}, {5, 64}, {17, 132}, {18, 1036}}) {
      if (contains(GetParam().name, "bsr")) continue;
      if (contains(GetParam().name, "nm24")) {
        const TestMatrix m = random_matrix(rows, cols, type, {.keep = 2, .group = 4}, rng_);
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedNm(m, 2, 4).view, batches));
        continue;
      }
      for (const double density : kDensities) {
        const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = density}, rng_);
        const PackedBitmask packed(m);
        ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, batches));
        EXPECT_LT(own_bytes(prepare(packed.view, options_)), 300U);
      }
    }
  }
}

TEST_P(InPlaceKernelTest, Blocks) {
  if (!contains(GetParam().name, "bsr")) GTEST_SKIP() << "takes no blocks";
  options_.in_place = true;
  const WeightType type = types_of(GetParam().name)[0];
  std::vector<std::pair<int32_t, int32_t>> sizes{{2, 16}, {16, 16}, {18, 32}, {64, 64}};
  if (contains(GetParam().name, "_avx2")) sizes.insert(sizes.end(), {{1, 16}, {3, 48}, {7, 80}, {21, 16}});
  for (const auto& [rows, cols] : sizes) {
    for (const double density : {0.0, 0.3, 1.0}) {
      const TestMatrix m = random_matrix(rows * 3, cols * 5, type,
                                         {.density = density, .block_rows = rows, .block_cols = cols}, rng_);
      const PackedBsr packed(m, rows, cols);
      ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1, 2, 3, 17}));
      EXPECT_LT(own_bytes(prepare(packed.view, options_)), 1000U);
    }
  }
}

// Groups of columns with scales of their own: their ends within and between the loop's steps, and the row's.
TEST_P(InPlaceKernelTest, ScalesOfGroups) {
  if (!contains(GetParam().name, "_i8_")) GTEST_SKIP() << "takes no scales of groups";
  options_.in_place = true;
  const std::vector<int64_t> batches{1, 2, 7};
  const auto check_grouped = [&](TestMatrix m, int64_t group, const auto& pack) {
    give_group_scales(m, group, rng_);
    const auto packed = pack(m);
    ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, batches));
  };
  for (const int64_t group : {32, 64, 128, 2048}) {
    for (const auto& [rows, cols] : {std::pair{1, 4}, {3, 60}, {17, 132}, {5, 1132}}) {
      if (contains(GetParam().name, "nm24")) {
        check_grouped(random_matrix(rows, cols, WeightType::kI8, {.keep = 2, .group = 4}, rng_), group,
                      [](const TestMatrix& m) { return PackedNm(m, 2, 4); });
      } else if (contains(GetParam().name, "bitmask")) {
        check_grouped(random_matrix(rows, cols + rows % 5, WeightType::kI8, {.density = 0.5}, rng_), group,
                      [](const TestMatrix& m) { return PackedBitmask(m); });
      }
    }
    for (const auto& [rows, cols] : {std::pair{16, 16}, {18, 32}, {4, 64}}) {
      if (!contains(GetParam().name, "bsr")) continue;
      const Sparsity blocks{.density = 0.5, .block_rows = rows, .block_cols = cols};
      check_grouped(random_matrix(rows * 3, cols * 7, WeightType::kI8, blocks, rng_), group,
                    [r = rows, c = cols](const TestMatrix& m) { return PackedBsr(m, r, c); });
    }
  }
}

// Blocks of groups and what is left of them, one and several panels, groups of them, chunks and segments,
// rows without partner.
TEST_P(StagedKernelTest, TwoOfFour) {
  if (contains(GetParam().name, "bitmask")) GTEST_SKIP() << "takes bitmasks";
  const WeightType type = types_of(GetParam().name)[0];
  for (const auto& [rows, cols] : {std::pair{1, 4}, {3, 48}, {130, 60}, {17, 132}, {18, 1036}}) {
    const TestMatrix m = random_matrix(rows, cols, type, {.keep = 2, .group = 4}, rng_);
    const PackedNm packed(m, 2, 4);
    for (const bool in_place : ways_to_hold()) {
      options_.in_place = in_place;
      ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1, 33, 65, 130}));
      EXPECT_LT(own_bytes(prepare(packed.view, options_)), in_place ? 600U : 2000000U);
    }
    ASSERT_NO_FATAL_FAILURE(check_integers(m, packed.view, 65));
  }
  const TestMatrix two_chunks = random_matrix(259, 1028, type, {.keep = 2, .group = 4}, rng_);
  const PackedNm packed(two_chunks, 2, 4);
  for (const bool in_place : ways_to_hold()) {
    options_.in_place = in_place;
    ASSERT_NO_FATAL_FAILURE(check_all(two_chunks, packed.view, {in_place ? 257 : 33}));
  }
}

// Rows enough for the largest chunks on up to four threads. A few patterns, so that rows agree on any number
// of groups, all of them among it.
TEST_P(StagedKernelTest, MatchedRows) {
  if (!contains(GetParam().name, "matched")) GTEST_SKIP() << "matches no rows";
  constexpr int64_t kRows = 8195, kCols = 68;
  TestMatrix m = random_matrix(kRows, kCols, types_of(GetParam().name)[0], {.keep = 2, .group = 4}, rng_);
  for (int64_t r = 0; r < kRows; ++r) {
    // Rows of a chunk's second half repeat its first, but for the groups that their number says. (With more
    // than four threads chunks are smaller, and rows agree by chance only.)
    if (r % 512 < 256) continue;
    for (int64_t k = 0; k < 4 * (r % 18); ++k) m.weights[r * kCols + k] = m.weights[(r - 256) * kCols + k];
  }
  ASSERT_NO_FATAL_FAILURE(check_all(m, PackedNm(m, 2, 4).view, {33, 70}));
}

TEST_P(StagedKernelTest, ScalesOfGroups) {
  if (!contains(GetParam().name, "_i8_")) GTEST_SKIP() << "takes no scales of groups";
  options_.in_place = ways_to_hold().back();
  const bool is_nm = contains(GetParam().name, "nm24");
  const Sparsity sparsity = is_nm ? Sparsity{.keep = 2, .group = 4} : Sparsity{.density = 0.4};
  for (const int64_t group : {32, 64, 256}) {
    for (const auto& [rows, cols] : {std::pair{3, 48}, {130, 60}, {18, 1036}}) {
      TestMatrix m = random_matrix(rows, cols, WeightType::kI8, sparsity, rng_);
      give_group_scales(m, group, rng_);
      if (is_nm)
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedNm(m, 2, 4).view, {1, 33, 130}));
      else
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedBitmask(m).view, {1, 33, 130}));
    }
  }
}

TEST_P(StagedKernelTest, AnyPattern) {
  if (contains(GetParam().name, "nm24")) GTEST_SKIP() << "takes 2:4";
  options_.in_place = true;
  for (const double density : kDensities) {
    for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 48}, {130, 61}, {17, 130}, {18, 1037}}) {
      const TestMatrix m =
          random_matrix(rows, cols, types_of(GetParam().name)[0], {.density = density}, rng_);
      ASSERT_NO_FATAL_FAILURE(check_all(m, PackedBitmask(m).view, {1, 33, 65, 130}));
    }
  }
}

// Batches of every width, where they lie as well.
TEST_P(CsrKernelTest, InPlace) {
  options_.in_place = true;
  for (const double density : kDensities) {
    for (const auto& [rows, cols] : kShapes) {
      const TestMatrix m =
          random_matrix(rows, cols + rows % 5, types_of(GetParam().name)[0], {.density = density}, rng_);
      const PackedCsr packed(m);
      ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1, 2, 3, 4, 5, 8, 9, 16, 17, 35}));
      EXPECT_LT(own_bytes(prepare(packed.view, options_)), 2000U);
    }
  }
}

TEST_P(CsrKernelTest, Densities) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const double density : kDensities) {
      for (const auto& [rows, cols] : kShapes) {
        const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = density}, rng_);
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {1, 2, 3, 7, 13, 17}));
      }
    }
  }
}

TEST_P(GemvKernelTest, Dense) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const auto& [rows, cols] : kShapes) {
      const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = 0.9}, rng_);
      ASSERT_NO_FATAL_FAILURE(check_all(m, PackedDense(m).view, {1, 2, 3, 4, 7, 17}));
    }
  }
}

TEST_P(WindowsKernelTest, Densities) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const double density : {0.0, 0.02, 0.1, 0.3, 1.0}) {
      for (const auto& [rows, cols] : kShapes) {
        const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = density}, rng_);
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {1, 2, 3, 7, 13, 17}));
      }
    }
  }
}

TEST_P(WindowsKernelTest, InPlace) {
  options_.in_place = true;
  const WeightType type = types_of(GetParam().name)[0];
  for (const int64_t steps : {0, 1, 3, 32}) {
    for (const auto& [rows, cols] : kShapes) {
      const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = 0.1}, rng_);
      const PackedWindows packed(m, steps);
      ASSERT_EQ(find_fault(packed.view, packed.values.size()), nullptr);
      ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1, 2, 3, 7, 17}));
      EXPECT_LT(own_bytes(prepare(packed.view, options_)), 2000U);
    }
  }
}

// Column numbers past sixteen bits.
TEST_P(CsrKernelTest, Wide) {
  const TestMatrix m = random_matrix(3, 65540, types_of(GetParam().name)[0], {.density = 0.001}, rng_);
  ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {1, 2}));
}

TEST_P(RowListsKernelTest, Densities) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const double density : kDensities) {
      // What a kernel takes beside its own type is widened on the way in: once is enough.
      if (type != types_of(GetParam().name).front() && density != 0.5) continue;
      for (const auto& [rows, cols] : kShapes) {
        const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = density}, rng_);
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {1, 15, 48, 70}));
      }
    }
  }
}

TEST_P(RowListsKernelTest, EveryBatch) {
  const TestMatrix m = random_matrix(37, 300, types_of(GetParam().name)[0], {.density = 0.4}, rng_);
  const PackedBitmask packed(m);
  std::vector<int64_t> batches(70);
  std::iota(batches.begin(), batches.end(), 1);
  batches.insert(batches.end(), {95, 96, 97, 127, 128, 129, 130});
  ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, batches));
}

// Rows that are no multiple of four, one to several chunks of them and blocks of inputs, lists without
// entries and such that fill the whole block.
TEST_P(PatternListsKernelTest, Densities) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (int sixteenths = 0; sixteenths <= 16; ++sixteenths) {
      // What a kernel takes beside its own type is widened on the way in: once is enough.
      if (type != types_of(GetParam().name).front() && sixteenths != 8) continue;
      const double density = sixteenths / 16.0;
      for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 16}, {7, 67}, {33, 450}, {130, 36}, {5, 1300}}) {
        const TestMatrix m = random_matrix(rows, cols, type, {.density = density}, rng_);
        const PackedCsr packed(m);
        ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1 + sixteenths % 4 * 23, 33}));
        ASSERT_NO_FATAL_FAILURE(check_integers(m, packed.view, 33));
      }
    }
  }
}

TEST_P(PatternListsKernelTest, EveryBatch) {
  const TestMatrix m = random_matrix(22, 300, types_of(GetParam().name)[0], {.keep = 2, .group = 4}, rng_);
  const PackedNm packed(m, 2, 4);
  std::vector<int64_t> batches(70);
  std::iota(batches.begin(), batches.end(), 1);
  batches.insert(batches.end(), {127, 128, 129, 200});
  ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, batches));
}

// The least int8 and inputs of one sign, whose sums are the largest.
TEST_P(PatternListsKernelTest, LargestIntegers) {
  if (!contains(GetParam().name, "_bytes_")) GTEST_SKIP() << "rounds nothing to bytes";
  // What sums begin with, 128 * 128 for each input, reaches 2^31; the sums themselves are floats without
  // rounding.
  constexpr int64_t kCols = kMostByteInputs, kRows = 4;
  TestMatrix m = random_matrix(kRows, kCols, WeightType::kI8, {.density = 1}, rng_);
  for (float& w : m.weights) w = -128;
  m.scales.assign(kRows, 1.0F);
  std::vector<float> x(kCols, 127.0F), y(kRows);
  prepare(PackedCsr(m).view, options_).run({x.data(), kCols, y.data(), kRows, 1});
  for (const float sum : y) EXPECT_EQ(sum, -128.0F * 127 * kCols);
}

TEST_P(BsrKernelTest, Blocks) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const auto& [rows, cols] :
         {std::pair{4, 1}, {4, 4}, {8, 8}, {16, 1}, {16, 16}, {64, 64}, {12, 20}, {48, 7}}) {
      if (rows % strip_rows_of(GetParam().name) != 0) continue;
      if (cols % inputs_together_in(GetParam().name) != 0) continue;
      for (const double density : {0.0, 0.3, 1.0}) {
        // What a kernel takes beside its own type is widened on the way in: once is enough.
        if (type != types_of(GetParam().name).front() && density != 0.3) continue;
        const TestMatrix m =
            random_matrix(rows * (1 + 130 / rows), cols * (1 + 140 / cols), type,
                          {.density = density, .block_rows = rows, .block_cols = cols}, rng_);
        const PackedBsr packed(m, rows, cols);
        options_.in_place =
            density == 0.3;  // tiles that are cut for every batch, a second panel after the first
        // Every kind of batch once; with no blocks and with all of them the way through a strip is what may
        // differ.
        const std::vector<int64_t> batches{1, 2, 3, 9, 33, 65, 130};
        ASSERT_NO_FATAL_FAILURE(
            check_all(m, packed.view, density == 0.3 ? batches : std::vector<int64_t>{4, 65}));
        ASSERT_NO_FATAL_FAILURE(check_integers(m, packed.view, 33));
      }
    }
  }
}

// Lists that are made for every batch, of rows in pairs and one without partner, of blocks where a row has no
// weight, of more than a chunk, and of more columns than a block.
TEST_P(RowListsKernelTest, Staged) {
  options_.in_place = true;
  for (const WeightType type : types_of(GetParam().name)) {
    for (const double density : {0.0, 0.02, 0.2, 0.5, 1.0}) {
      for (const auto& [rows, cols] : {std::pair{1, 1}, {2, 700}, {65, 130}, {131, 1301}}) {
        if (type != types_of(GetParam().name).front() && rows != 65) continue;
        const TestMatrix m = random_matrix(rows, cols, type, {.density = density}, rng_);
        const PackedCsr csr(m);
        ASSERT_NO_FATAL_FAILURE(check_all(m, csr.view, {1, 33, 130}));
        EXPECT_LT(own_bytes(prepare(csr.view, options_)), 1000U);
        const PackedWindows windows(m, 3);
        ASSERT_NO_FATAL_FAILURE(check_all(m, windows.view, {33}));
        const PackedBitmask bitmask(m);
        ASSERT_NO_FATAL_FAILURE(check_all(m, bitmask.view, {33}));
        EXPECT_TRUE(prepare(csr.view, options_).is_in_place());
        EXPECT_TRUE(prepare(windows.view, options_).is_in_place());
        EXPECT_TRUE(prepare(bitmask.view, options_).is_in_place());
      }
    }
    for (const auto& [keep, group] : {std::pair{2, 4}, {3, 8}}) {
      const TestMatrix m = random_matrix(67, group * 41, type, {.keep = keep, .group = group}, rng_);
      const PackedNm nm(m, keep, group);
      ASSERT_NO_FATAL_FAILURE(check_all(m, nm.view, {33, 130}));
      EXPECT_TRUE(prepare(nm.view, options_).is_in_place());
    }
  }
}

// Chunks enough for all panels of a batch to meet what is staged once.
TEST_P(RowListsKernelTest, StagedForManyPanels) {
  options_.in_place = true;
  const TestMatrix m = random_matrix(600, 40, types_of(GetParam().name)[0], {.density = 0.1}, rng_);
  ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {700}));
}

// More panels than are packed at a time.
TEST_P(RowListsKernelTest, ManyPanels) {
  const TestMatrix m = random_matrix(9, 33000, types_of(GetParam().name)[0], {.density = 0.01}, rng_);
  ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {200}));
}

INSTANTIATE_TEST_SUITE_P(All, NmKernelTest, testing::ValuesIn(kNm24Kernels), kernel_of);
INSTANTIATE_TEST_SUITE_P(All, BitmaskKernelTest, testing::ValuesIn(kBitmaskKernels), kernel_of);
INSTANTIATE_TEST_SUITE_P(All, InPlaceKernelTest, testing::ValuesIn(kInPlaceKernels), kernel_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(InPlaceKernelTest);
INSTANTIATE_TEST_SUITE_P(All, StagedKernelTest, testing::ValuesIn(kStagedKernels), kernel_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StagedKernelTest);
INSTANTIATE_TEST_SUITE_P(All, CsrKernelTest, testing::ValuesIn(kCsrKernels), kernel_of);
INSTANTIATE_TEST_SUITE_P(All, GemvKernelTest, testing::ValuesIn(kGemvKernels), kernel_of);
INSTANTIATE_TEST_SUITE_P(All, WindowsKernelTest, testing::ValuesIn(kWindowsKernels), kernel_of);
INSTANTIATE_TEST_SUITE_P(All, BsrKernelTest, testing::ValuesIn(kBsrKernels), kernel_of);
INSTANTIATE_TEST_SUITE_P(All, RowListsKernelTest, testing::ValuesIn(kRowListsKernels), kernel_of);
INSTANTIATE_TEST_SUITE_P(All, PatternListsKernelTest, testing::ValuesIn(kPatternListsKernels), kernel_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PatternListsKernelTest);

}  // namespace
}  // namespace prune::kernels
