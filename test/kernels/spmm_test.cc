// Every kernel of every kernels.inc against a product in double precision.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kernels/sparse/many_rows.h"
#include "kernels/sparse/plain/plain.h"
#include "kernels/sparse/plan.h"
#include "test/kernels/kernel_grid.h"
#include "test/kernels/kernel_lists.h"
#include "test/kernels/packing.h"
#include "test/kernels/product_check.h"

namespace prune::kernels {
namespace {

// The weight types that a kernel takes, from its name: <op>_<type>_<isa>. Row lists take any type, but those
// in bf16 would round float weights.
std::vector<WeightType> types_of(const std::string& kernel) {
  const bool lists = contains(kernel, "row_lists");
  if ((lists && contains(kernel, "_f32_")) || contains(kernel, "bsr_tile4_f32") ||
      contains(kernel, "bsr_tile8_f32") || contains(kernel, "bsr_lanes_f32"))
    return {WeightType::kF32, WeightType::kBf16, WeightType::kI8};
  if ((lists && contains(kernel, "_bf16_")) || contains(kernel, "pattern_lists_bf16") ||
      contains(kernel, "bsr_tile4_bf16") || contains(kernel, "bsr_tile8_bf16") ||
      contains(kernel, "bsr_lanes_bf16"))
    return {WeightType::kBf16, WeightType::kI8};
  if (contains(kernel, "_bf16_")) return {WeightType::kBf16};
  if (contains(kernel, "_f16_")) return {WeightType::kF16};
  return {contains(kernel, "_i8_") || contains(kernel, "_bytes_") ? WeightType::kI8 : WeightType::kF32};
}

// And of how many inputs a block must be a multiple.
int inputs_together_in(const std::string& kernel) {
  if (contains(kernel, "bsr_lanes_")) return 16;
  return contains(kernel, "_bytes_") ? 4 : contains(kernel, "_bf16_avx512bf16") ? 2 : 1;
}

// Blocks must be a multiple of this high: bsr16_f32_avx512 takes strips of 16 rows, bsr_tile4_* strips of 4.
int strip_rows_of(const std::string& kernel) {
  if (contains(kernel, "bsr16_") || contains(kernel, "bsr_lanes_")) return 16;
  return contains(kernel, "bsr8_") || contains(kernel, "bsr_tile8_") ? 8 : 4;
}

class KernelTest : public testing::TestWithParam<KernelLine> {
 protected:
  void SetUp() override {
    if (!isa::runs_on(GetParam().needs, isa::supported())) GTEST_SKIP() << "not on this processor";
    options_.kernel = GetParam().name;
  }
  // Prepares the packed weights for this kernel alone and checks the product for each n.
  template <class View>
  void check_all(const TestMatrix& m, const View& view, const std::vector<int64_t>& batches) {
    const Plan plan = prepare(view, options_);
    for (const int64_t n : batches) {
      ASSERT_STREQ(plan.kernel_name(n), GetParam().name);
      ASSERT_NO_FATAL_FAILURE(check(plan, m, n, bound_of(GetParam().name), rng_));
    }
  }

  // Of kernels in bytes: whole numbers of -127 to 127, times a power of two, come out as they are: no sum may
  // be off by one.
  template <class View>
  void check_integers(const TestMatrix& m, View view, int64_t n) {
    if (!contains(GetParam().name, "_bytes_")) return;
    view.scales = nullptr;
    std::vector<float> x(n * m.cols), y(n * m.rows);
    std::uniform_int_distribution<int> whole(-127, 127);
    for (float& value : x) value = 0x1p-9F * static_cast<float>(whole(rng_));
    for (int64_t i = 0; i < n; ++i) x[i * m.cols + i % m.cols] = i % 2 == 0 ? 127 * 0x1p-9F : -127 * 0x1p-9F;
    prepare(view, options_).run({x.data(), m.cols, y.data(), m.rows, n});
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t r = 0; r < m.rows; ++r) {
        double sum = 0;
        for (int64_t k = 0; k < m.cols; ++k) sum += static_cast<double>(m.at(r, k)) * x[i * m.cols + k];
        ASSERT_EQ(y[i * m.rows + r], static_cast<float>(sum)) << "row " << i << ", output " << r;
      }
    }
  }

  // Whether weights lie where they are, for the kernel that takes them so, only so, or only otherwise.
  static std::vector<bool> ways_to_hold() {
    const std::string name = GetParam().name;
    if (contains(name, "in_place") || contains(name, "six_pairs_bitmask")) return {true};
    if (contains(name, "row_lanes") || contains(name, "bsr_tile") || contains(name, "csr_"))
      return {false, true};
    return {contains(name, "six_pairs_nm24")};
  }

  PrepareOptions options_;
  std::mt19937 rng_{test_seed()};
};

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

// Every kernel there is.
class AnyKernelTest : public KernelTest {
 protected:
  // Weights of so many sixteenths of their places; of 2:4, of which as many keep zeros.
  TestMatrix matrix(int sixteenths, int64_t rows, int64_t cols, const Sparsity& unit) {
    Sparsity sparsity = unit;
    sparsity.density = sixteenths / 16.0;
    TestMatrix m = random_matrix(rows, cols, type_, sparsity, rng_);
    if (unit.block_rows > 1 || unit.group > 0) return m;
    // Rows without and with all weights, beside others.
    for (int64_t k = 0; k < cols; ++k) {
      m.weights[k] = 0;
      if (rows > 2) m.weights[2 * cols + k] = k % 2 == 0 ? 1.0F : -3.0F;
    }
    return m;
  }
  static bool named(const char* part) { return contains(GetParam().name, part); }

  // What lies where it is may begin anywhere that its type allows.
  template <class Packed>
  void check_packed(const TestMatrix& m, const Packed& packed, const std::vector<int64_t>& batches) {
    auto view = packed.view;
    const int64_t weight = weight_bytes(view.type);
    const std::vector<char> values = moved(view.values, packed.values.size() * weight, weight);
    std::vector<char> places;
    if (options_.in_place) view.values = values.data() + weight;
    if constexpr (std::is_same_v<Packed, PackedNm>) {
      places = moved(view.indices, static_cast<int64_t>(packed.indices.size()), 1);
      if (options_.in_place) view.indices = reinterpret_cast<const uint8_t*>(places.data() + 1);
    } else if constexpr (std::is_same_v<Packed, PackedBitmask>) {
      places = moved(view.bitmask, static_cast<int64_t>(packed.bitmask.size()), 1);
      if (options_.in_place) view.bitmask = reinterpret_cast<const uint8_t*>(places.data() + 1);
    } else if constexpr (std::is_same_v<Packed, PackedCsr>) {
      places = moved(view.indices, static_cast<int64_t>(packed.indices.size() * sizeof(int32_t)), 4);
      if (options_.in_place) view.indices = reinterpret_cast<const int32_t*>(places.data() + 4);
    }
    ASSERT_NO_FATAL_FAILURE(check_all(m, view, batches));
    ASSERT_NO_FATAL_FAILURE(check_integers(m, view, batches.front()));
  }
  static std::vector<char> moved(const void* from, int64_t bytes, int64_t by) {
    std::vector<char> copy(static_cast<size_t>(bytes + by));
    if (bytes > 0) std::memcpy(copy.data() + by, from, static_cast<size_t>(bytes));
    return copy;
  }

  // rows and cols say about how large.
  void check_size(int sixteenths, int64_t rows, int64_t cols, const std::vector<int64_t>& batches) {
    const std::string name = GetParam().name;
    if (named("bsr")) return check_blocks(sixteenths, rows, cols, batches);
    if (named("nm24")) {
      TestMatrix m = matrix(sixteenths, rows, (cols + 3) / 4 * 4, {.keep = 2, .group = 4});
      return check_sparse24(sixteenths, m, batches);
    }
    const TestMatrix m = matrix(sixteenths, rows, cols, {});
    if (named("bitmask")) return check_packed(m, PackedBitmask(m), batches);
    if (named("windows") && sixteenths % 2 == 0) {
      options_.in_place = true;
      return check_packed(m, PackedWindows(m, sixteenths / 4), batches);
    }
    if (named("gemv")) return check_packed(m, PackedDense(m), batches);
    if (named("plain")) return check_plain(m, batches);
    options_.in_place = options_.in_place && named("csr_");
    check_packed(m, PackedCsr(m), batches);
  }

  void check_blocks(int sixteenths, int64_t rows, int64_t cols, const std::vector<int64_t>& batches) {
    Sparsity unit{.block_rows = strip_rows_of(GetParam().name),
                  .block_cols = std::max(4, inputs_together_in(GetParam().name))};
    if (named("in_place"))
      unit = {.block_rows = 2 + sixteenths % 9 * 2, .block_cols = sixteenths % 2 == 0 ? 16 : 32};
    const TestMatrix m = matrix(sixteenths, (rows / unit.block_rows + 1) * unit.block_rows,
                                (cols / unit.block_cols + 1) * unit.block_cols, unit);
    check_packed(m, PackedBsr(m, unit.block_rows, unit.block_cols), batches);
  }

  void check_sparse24(int sixteenths, TestMatrix& m, const std::vector<int64_t>& batches) {
    PackedNm packed(m, 2, 4);
    packed.values = TypedValues(m.type);
    std::uniform_int_distribution<int> places(0, 15);
    for (float& weight : m.weights) {
      if (weight == 0) continue;
      if (places(rng_) >= sixteenths) weight = 0;
      packed.values.push(weight);
    }
    packed.values.end();
    packed.view.values = packed.values.data();
    check_packed(m, packed, batches);
  }

  void check_plain(const TestMatrix& m, const std::vector<int64_t>& batches) {
    const PackedDense packed(m);
    const Plan plan = prepare_plain(packed.view, options_);
    for (const int64_t n : batches)
      ASSERT_NO_FATAL_FAILURE(check(plan, m, n, bound_of(GetParam().name), rng_));
  }

  WeightType type_ = WeightType::kF32;
};

TEST_P(AnyKernelTest, EveryDensityAndBatch) {
  std::vector<WeightType> types = types_of(GetParam().name);
  // What a kernel takes beside its own type is widened on the way in.
  if (!is_grid_full()) types.resize(1);
  const std::vector<GridPoint> points = kernel_grid();
  for (const WeightType type : types) {
    for (const bool in_place : ways_to_hold()) {
      for (const GridPoint& point : points) {
        type_ = type;
        options_.in_place = in_place;
        SCOPED_TRACE(testing::Message() << point.sixteenths << " of 16 stay");
        ASSERT_NO_FATAL_FAILURE(check_size(point.sixteenths, point.rows, point.cols, point.batches));
      }
    }
  }
}

std::vector<KernelLine> all_kernels() {
  std::vector<KernelLine> all;
  const auto add = [&](const auto& lines) { all.insert(all.end(), std::begin(lines), std::end(lines)); };
  add(kNm24Kernels);
  add(kBitmaskKernels);
  add(kInPlaceKernels);
  add(kStagedKernels);
  add(kCsrKernels);
  add(kGemvKernels);
  add(kWindowsKernels);
  add(kBsrKernels);
  add(kRowListsKernels);
  add(kPatternListsKernels);
  add(kPlainKernels);
  return all;
}

const auto name_of = [](const auto& info) { return std::string(info.param.name); };

INSTANTIATE_TEST_SUITE_P(All, AnyKernelTest, testing::ValuesIn(all_kernels()), name_of);
INSTANTIATE_TEST_SUITE_P(All, NmKernelTest, testing::ValuesIn(kNm24Kernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, BitmaskKernelTest, testing::ValuesIn(kBitmaskKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, InPlaceKernelTest, testing::ValuesIn(kInPlaceKernels), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(InPlaceKernelTest);
INSTANTIATE_TEST_SUITE_P(All, StagedKernelTest, testing::ValuesIn(kStagedKernels), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StagedKernelTest);
INSTANTIATE_TEST_SUITE_P(All, CsrKernelTest, testing::ValuesIn(kCsrKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, GemvKernelTest, testing::ValuesIn(kGemvKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, WindowsKernelTest, testing::ValuesIn(kWindowsKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, BsrKernelTest, testing::ValuesIn(kBsrKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, RowListsKernelTest, testing::ValuesIn(kRowListsKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, PatternListsKernelTest, testing::ValuesIn(kPatternListsKernels), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PatternListsKernelTest);

}  // namespace
}  // namespace prune::kernels
