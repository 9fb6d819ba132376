// Every kernel of every kernels.inc against a product in double precision.
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/sparse/plan.h"
#include "test/kernels/packing.h"

namespace prune::kernels {
namespace {

struct KernelLine {
  const char* name;
  uint32_t needs;
};

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// X, Y and bias of a batch. Rows are farther apart than they are long, and start off alignment; the gaps hold
// what no kernel may read (NaN) or write (a mark).
struct TestBatch {
  static constexpr float kMark = 12345.0f;
  int64_t n, ldx, ldy;
  std::vector<float> x, y, bias;

  TestBatch(const TestMatrix& m, int64_t n_, bool with_bias, std::mt19937& rng)
      : n(n_), ldx(m.cols + 3), ldy(m.rows + 5), x(1 + n * ldx, std::nanf("")), y(1 + n * ldy, kMark) {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < m.cols; ++k) x[1 + i * ldx + k] = normal(rng);
    }
    if (with_bias) {
      for (int64_t r = 0; r < m.rows; ++r) bias.push_back(normal(rng));
    }
  }
  // The last row of X ends where its allocation ends, so that the address sanitizer sees reads past it.
  Batch view() {
    x.resize(1 + (n - 1) * ldx + (ldx - 3));
    x.shrink_to_fit();
    return {x.data() + 1, ldx, y.data() + 1, ldy, n, bias.empty() ? nullptr : bias.data()};
  }
};

// Kernels in bytes round a row of X to multiples of its largest element / 127.
double input_error(const Plan& plan, const float* x, int64_t n, int64_t cols) {
  if (!contains(plan.kernel_name(n), "_bytes_")) return 0;
  double largest = 0;
  for (int64_t k = 0; k < cols; ++k) largest = std::max<double>(largest, std::abs(x[k]));
  return largest / 253;
}

void check(const Plan& plan, const TestMatrix& m, int64_t n, double relative, std::mt19937& rng) {
  SCOPED_TRACE(testing::Message() << plan.kernel_name(n) << " " << m.rows << " x " << m.cols << ", n = " << n
                                  << ", seed " << test_seed());
  TestBatch batch(m, n, n % 2 == 1, rng);
  const Batch view = batch.view();
  plan.run(view);
  for (int64_t i = 0; i < n; ++i) {
    const double off = input_error(plan, view.x + i * view.ldx, n, m.cols) / relative;
    for (int64_t r = 0; r < m.rows; ++r) {
      // Four sums of each kind, so that the additions need not wait for each other.
      double sums[4] = {}, magnitudes[4] = {};
      for (int64_t k = 0; k < m.cols; ++k) {
        const double weight = double{m.scale(r, k)} * m.at(r, k), x = view.x[i * view.ldx + k];
        sums[k % 4] += weight * x;
        magnitudes[k % 4] += std::abs(weight) * (std::abs(x) + off);
      }
      const double bias = batch.bias.empty() ? 0.0 : batch.bias[r];
      const double sum = sums[0] + sums[1] + sums[2] + sums[3] + bias;
      const double magnitude = magnitudes[0] + magnitudes[1] + magnitudes[2] + magnitudes[3] + std::abs(bias);
      ASSERT_NEAR(view.y[i * view.ldy + r], sum, relative * magnitude + 1e-30)
          << "row " << i << ", output " << r;
    }
    for (int64_t r = m.rows; r < view.ldy && (i + 1 < n || r + 1 < view.ldy); ++r) {
      ASSERT_EQ(view.y[i * view.ldy + r], TestBatch::kMark) << "wrote past the row";
    }
  }
  ASSERT_EQ(batch.y[0], TestBatch::kMark);
}

// The weight types that a kernel takes, from its name: <op>_<type>_<isa>. Row lists take any type, but those
// in bf16 would round float weights.
std::vector<WeightType> types_of(const std::string& kernel) {
  if (contains(kernel, "row_lists_f32") || contains(kernel, "row_lists_sparse_f32") ||
      contains(kernel, "bsr_tile4_f32") || contains(kernel, "bsr_tile8_f32"))
    return {WeightType::kF32, WeightType::kBf16, WeightType::kI8};
  if (contains(kernel, "row_lists_bf16") || contains(kernel, "row_lists_sparse_bf16") ||
      contains(kernel, "bsr_tile4_bf16") || contains(kernel, "bsr_tile8_bf16"))
    return {WeightType::kBf16, WeightType::kI8};
  if (contains(kernel, "_bf16_")) return {WeightType::kBf16};
  return {contains(kernel, "_i8_") || contains(kernel, "_bytes_") ? WeightType::kI8 : WeightType::kF32};
}

// And of how many inputs a block must be a multiple.
int inputs_together_in(const std::string& kernel) {
  return contains(kernel, "_bytes_") ? 4 : contains(kernel, "_bf16_avx512bf16") ? 2 : 1;
}

// Blocks must be a multiple of this high: bsr16_f32_avx512 takes strips of 16 rows, bsr_tile4_* strips of 4.
int strip_rows_of(const std::string& kernel) {
  if (contains(kernel, "bsr16_")) return 16;
  return contains(kernel, "bsr8_") || contains(kernel, "bsr_tile8_") ? 8 : 4;
}

double bound_of(const std::string& kernel) { return contains(kernel, "avx512bf16") ? 0x1p-8 : 1e-5; }

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

  PrepareOptions options_;
  std::mt19937 rng_{test_seed()};
};

class NmKernelTest : public KernelTest {};
class BitmaskKernelTest : public KernelTest {};
class InPlaceKernelTest : public KernelTest {};
class SixPairsKernelTest : public KernelTest {};
class CsrKernelTest : public KernelTest {};
class GemvKernelTest : public KernelTest {};
class WindowsKernelTest : public KernelTest {};
class BsrKernelTest : public KernelTest {};
class RowListsKernelTest : public KernelTest {};

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
        EXPECT_LT(prepare(packed.view, options_).own_bytes(), 300U);
      }
    }
  }
}

TEST_P(InPlaceKernelTest, Blocks) {
  if (!contains(GetParam().name, "bsr")) GTEST_SKIP() << "takes no blocks";
  options_.in_place = true;
  const WeightType type = types_of(GetParam().name)[0];
  for (const auto& [rows, cols] : {std::pair{2, 16}, {16, 16}, {18, 32}, {64, 64}}) {
    for (const double density : {0.0, 0.3, 1.0}) {
      const TestMatrix m = random_matrix(rows * 3, cols * 5, type,
                                         {.density = density, .block_rows = rows, .block_cols = cols}, rng_);
      const PackedBsr packed(m, rows, cols);
      ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1, 2, 3, 17}));
      EXPECT_LT(prepare(packed.view, options_).own_bytes(), 1000U);
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

// Blocks of twelve groups and what is left of them, one and several panels, groups of them and chunks, rows
// without partner.
TEST_P(SixPairsKernelTest, TwoOfFour) {
  if (contains(GetParam().name, "bitmask")) GTEST_SKIP() << "takes bitmasks";
  const WeightType type = types_of(GetParam().name)[0];
  for (const auto& [rows, cols] : {std::pair{1, 4}, {3, 48}, {130, 60}, {17, 132}, {18, 1036}}) {
    const TestMatrix m = random_matrix(rows, cols, type, {.keep = 2, .group = 4}, rng_);
    const PackedNm packed(m, 2, 4);
    for (const bool in_place : {false, true}) {
      options_.in_place = in_place;
      ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1, 33, 65, 130}));
    }
    EXPECT_LT(prepare(packed.view, options_).own_bytes(), 600U);
    ASSERT_NO_FATAL_FAILURE(check_integers(m, packed.view, 65));
  }
  const TestMatrix two_chunks = random_matrix(259, 100, type, {.keep = 2, .group = 4}, rng_);
  ASSERT_NO_FATAL_FAILURE(check_all(two_chunks, PackedNm(two_chunks, 2, 4).view, {33, 520}));
}

TEST_P(SixPairsKernelTest, ScalesOfGroups) {
  if (!contains(GetParam().name, "_i8_")) GTEST_SKIP() << "takes no scales of groups";
  options_.in_place = true;
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

TEST_P(SixPairsKernelTest, AnyPattern) {
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

TEST_P(CsrKernelTest, Densities) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const double density : kDensities) {
      for (const auto& [rows, cols] : kShapes) {
        const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = density}, rng_);
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {1, 2, 3, 7, 17}));
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
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {1, 2, 3, 7, 17}));
      }
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
      for (const auto& [rows, cols] : kShapes) {
        const TestMatrix m = random_matrix(rows, cols + rows % 5, type, {.density = density}, rng_);
        ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {1, 15, 48, 70}));
      }
    }
  }
}

TEST_P(RowListsKernelTest, EveryBatch) {
  for (const WeightType type : types_of(GetParam().name)) {
    const TestMatrix m = random_matrix(37, 300, type, {.density = 0.4}, rng_);
    const PackedBitmask packed(m);
    std::vector<int64_t> batches(70);
    std::iota(batches.begin(), batches.end(), 1);
    batches.insert(batches.end(), {95, 96, 97, 127, 128, 129, 130});
    ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, batches));
  }
}

TEST_P(BsrKernelTest, Blocks) {
  for (const WeightType type : types_of(GetParam().name)) {
    for (const auto& [rows, cols] :
         {std::pair{4, 1}, {4, 4}, {8, 8}, {16, 1}, {16, 16}, {64, 64}, {12, 20}, {48, 7}}) {
      if (rows % strip_rows_of(GetParam().name) != 0) continue;
      if (cols % inputs_together_in(GetParam().name) != 0) continue;
      for (const double density : {0.0, 0.3, 1.0}) {
        const TestMatrix m =
            random_matrix(rows * (1 + 130 / rows), cols * (1 + 140 / cols), type,
                          {.density = density, .block_rows = rows, .block_cols = cols}, rng_);
        const PackedBsr packed(m, rows, cols);
        options_.in_place =
            density == 0.3;  // tiles that are cut for every batch, a second panel after the first
        ASSERT_NO_FATAL_FAILURE(check_all(m, packed.view, {1, 2, 3, 4, 9, 33, 65, 130}));
        ASSERT_NO_FATAL_FAILURE(check_integers(m, packed.view, 33));
      }
    }
  }
}

// More panels than are packed at a time.
TEST_P(RowListsKernelTest, ManyPanels) {
  const TestMatrix m = random_matrix(9, 33000, types_of(GetParam().name)[0], {.density = 0.01}, rng_);
  ASSERT_NO_FATAL_FAILURE(check_all(m, PackedCsr(m).view, {200}));
}

const auto name_of = [](const auto& info) { return std::string(info.param.name); };

#define PRUNE_LINE(name, needs) {#name, needs},
constexpr KernelLine kNm24Kernels[] = {
#define PRUNE_NM24_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_nm/kernels.inc"
};
constexpr KernelLine kBitmaskKernels[] = {
#define PRUNE_BITMASK_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_bitmask/kernels.inc"
};
// Empty where there are none for the processor.
const std::vector<KernelLine> kInPlaceKernels{
#define PRUNE_IN_PLACE_KERNEL PRUNE_LINE
#define PRUNE_IN_PLACE_BLOCKS_KERNEL PRUNE_LINE
#include "kernels/sparse/in_place/kernels.inc"
};
const std::vector<KernelLine> kSixPairsKernels{
#define PRUNE_SIX_PAIRS_NM24_KERNEL PRUNE_LINE
#define PRUNE_SIX_PAIRS_BITMASK_KERNEL PRUNE_LINE
#include "kernels/sparse/six_pairs/kernels.inc"
};
constexpr KernelLine kCsrKernels[] = {
#define PRUNE_CSR_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_csr/kernels.inc"
};
constexpr KernelLine kGemvKernels[] = {
#define PRUNE_GEMV_KERNEL PRUNE_LINE
#include "kernels/sparse/gemv/kernels.inc"
};
constexpr KernelLine kWindowsKernels[] = {
#define PRUNE_WINDOWS_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_windows/kernels.inc"
};
constexpr KernelLine kBsrKernels[] = {
#define PRUNE_BSR_TILE_KERNEL PRUNE_LINE
#define PRUNE_BSR_FEW_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_bsr/kernels.inc"
};
constexpr KernelLine kRowListsKernels[] = {
#define PRUNE_ROW_LISTS_KERNEL PRUNE_LINE
#include "kernels/sparse/row_lists/kernels.inc"
};
INSTANTIATE_TEST_SUITE_P(All, NmKernelTest, testing::ValuesIn(kNm24Kernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, BitmaskKernelTest, testing::ValuesIn(kBitmaskKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, InPlaceKernelTest, testing::ValuesIn(kInPlaceKernels), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(InPlaceKernelTest);
INSTANTIATE_TEST_SUITE_P(All, SixPairsKernelTest, testing::ValuesIn(kSixPairsKernels), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SixPairsKernelTest);
INSTANTIATE_TEST_SUITE_P(All, CsrKernelTest, testing::ValuesIn(kCsrKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, GemvKernelTest, testing::ValuesIn(kGemvKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, WindowsKernelTest, testing::ValuesIn(kWindowsKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, BsrKernelTest, testing::ValuesIn(kBsrKernels), name_of);
INSTANTIATE_TEST_SUITE_P(All, RowListsKernelTest, testing::ValuesIn(kRowListsKernels), name_of);

// Plans as callers make them: every format, the best kernels, few and many rows.
class PlanTest : public testing::TestWithParam<WeightType> {
 protected:
  template <class View>
  void check_plan(const TestMatrix& m, const View& view) {
    for (const Use use : {Use::kAny, Use::kFewRows, Use::kManyRows}) {
      const Plan plan = prepare(view, {.use = use});
      EXPECT_EQ(plan.rows(), m.rows);
      EXPECT_EQ(plan.cols(), m.cols);
      EXPECT_GT(plan.bytes(), 0u);
      for (const int64_t n : {1, 6, 8, 9, 40, 100}) {
        ASSERT_NO_FATAL_FAILURE(check(plan, m, n, bound_of(plan.kernel_name(n)), rng_));
      }
    }
  }
  std::mt19937 rng_{test_seed()};
};

TEST_P(PlanTest, Nm) {
  for (const auto& [keep, group] :
       {std::pair{2, 4}, {1, 4}, {3, 4}, {4, 8}, {1, 2}, {5, 16}, {31, 32}, {1, 3}, {2, 7}}) {
    const TestMatrix m = random_matrix(70, group * 23, GetParam(), {.keep = keep, .group = group}, rng_);
    const PackedNm packed(m, keep, group);
    ASSERT_EQ(find_fault(packed.view, packed.values.size(), packed.indices.size()), nullptr);
    ASSERT_NO_FATAL_FAILURE(check_plan(m, packed.view));
  }
}

TEST_P(PlanTest, Bitmask) {
  const TestMatrix m = random_matrix(203, 301, GetParam(), {.density = 0.4}, rng_);
  const PackedBitmask packed(m);
  ASSERT_EQ(find_fault(packed.view, packed.values.size()), nullptr);
  ASSERT_NO_FATAL_FAILURE(check_plan(m, packed.view));
}

TEST_P(PlanTest, Csr) {
  const TestMatrix m = random_matrix(203, 301, GetParam(), {.density = 0.1}, rng_);
  const PackedCsr packed(m);
  ASSERT_EQ(find_fault(packed.view, packed.values.size()), nullptr);
  ASSERT_NO_FATAL_FAILURE(check_plan(m, packed.view));
}

TEST_P(PlanTest, Bsr) {
  for (const auto& [rows, cols] :
       {std::pair{1, 16}, {4, 1}, {4, 4}, {8, 8}, {16, 1}, {16, 16}, {32, 32}, {64, 64}, {3, 5}, {12, 20}}) {
    for (const double density : {0.0, 0.2, 1.0}) {
      const TestMatrix m = random_matrix(rows * (1 + 70 / rows), cols * (1 + 130 / cols), GetParam(),
                                         {.density = density, .block_rows = rows, .block_cols = cols}, rng_);
      const PackedBsr packed(m, rows, cols);
      ASSERT_EQ(find_fault(packed.view, packed.values.size()), nullptr);
      ASSERT_NO_FATAL_FAILURE(check_plan(m, packed.view));
    }
  }
}

// A sign and seven bits can't hold -128: other kernels take such weights, or take them as they lie.
TEST(Plan, SmallestInt8) {
  std::mt19937 rng(test_seed());
  TestMatrix m = random_matrix(9, 132, WeightType::kI8, {.keep = 2, .group = 4}, rng);
  for (float& value : m.weights) {
    if (value == 0) continue;
    value = -128;
    break;
  }
  for (const int64_t n : {1, 5}) {
    ASSERT_NO_FATAL_FAILURE(check(prepare(PackedNm(m, 2, 4).view), m, n, 1e-5, rng));
    ASSERT_NO_FATAL_FAILURE(check(prepare(PackedBitmask(m).view), m, n, 1e-5, rng));
    ASSERT_NO_FATAL_FAILURE(check(prepare(PackedDense(m).view), m, n, 1e-5, rng));
    const PackedNm nm(m, 2, 4);
    const PackedBitmask bitmask(m);
    for (const Plan& plan : {prepare(nm.view, {.in_place = true}), prepare(bitmask.view, {.in_place = true})})
      ASSERT_NO_FATAL_FAILURE(check(plan, m, n, bound_of(plan.kernel_name(n)), rng));
  }
}

// Also of arrays that are smaller than what a plan keeps beside them.
TEST(Plan, SaysWhetherItReadsInPlace) {
  std::mt19937 rng(test_seed());
  for (const int64_t cols : {4, 256}) {
    const TestMatrix m = random_matrix(16, cols, WeightType::kI8, {.keep = 2, .group = 4}, rng);
    const PackedNm nm(m, 2, 4);
    EXPECT_FALSE(prepare(nm.view).is_in_place());
    const Plan plan = prepare(nm.view, {.in_place = true});
    EXPECT_EQ(plan.is_in_place(), std::string_view(plan.kernel_name(1)).starts_with("in_place_"));
  }
  EXPECT_FALSE(Plan().is_in_place());
}

// Every format, where it lies and rearranged, with and without the kernels for it.
TEST(Plan, ScalesOfGroups) {
  std::mt19937 rng(test_seed());
  const auto check_plans = [&](TestMatrix m, const auto& pack) {
    give_group_scales(m, 64, rng);
    const auto packed = pack(m);
    for (const uint32_t isa :
         {isa::supported(), isa::supported() & ~uint32_t{isa::kAvx512Bf16}, uint32_t{isa::kGeneric}}) {
      for (const bool in_place : {false, true}) {
        const Plan plan = prepare(packed.view, {.isa = isa, .in_place = in_place});
        for (const int64_t n : {1, 9, 40})
          ASSERT_NO_FATAL_FAILURE(check(plan, m, n, bound_of(plan.kernel_name(n)), rng));
      }
    }
  };
  const auto random = [&](int64_t rows, int64_t cols, const Sparsity& sparsity) {
    return random_matrix(rows, cols, WeightType::kI8, sparsity, rng);
  };
  check_plans(random(21, 200, {.keep = 2, .group = 4}), [](const auto& m) { return PackedNm(m, 2, 4); });
  check_plans(random(21, 210, {.keep = 3, .group = 7}), [](const auto& m) { return PackedNm(m, 3, 7); });
  check_plans(random(21, 201, {.density = 0.4}), [](const auto& m) { return PackedBitmask(m); });
  check_plans(random(21, 201, {.density = 0.1}), [](const auto& m) { return PackedCsr(m); });
  check_plans(random(48, 160, {.density = 0.4, .block_rows = 16, .block_cols = 16}),
              [](const auto& m) { return PackedBsr(m, 16, 16); });
  check_plans(random(24, 210, {.density = 0.4, .block_rows = 3, .block_cols = 5}),
              [](const auto& m) { return PackedBsr(m, 3, 5); });
}

// Only where they are asked for, only for many rows of X, and never of infinity a number.
TEST(Plan, BytesAreAskedFor) {
  std::mt19937 rng(test_seed());
  const TestMatrix m = random_matrix(32, 128, WeightType::kI8, {.keep = 2, .group = 4}, rng);
  const PackedNm nm(m, 2, 4);
  const TestMatrix blocks =
      random_matrix(32, 128, WeightType::kI8, {.block_rows = 16, .block_cols = 16}, rng);
  const PackedBsr bsr(blocks, 16, 16);
  const bool has_them = isa::runs_on(isa::kAvx512 | isa::kAvx512Bf16, isa::supported());
  for (const Plan& plan : {prepare(nm.view), prepare(bsr.view), prepare(nm.view, {.in_place = true})}) {
    for (const int64_t n : {1, 40}) EXPECT_FALSE(contains(plan.kernel_name(n), "_bytes_"));
  }
  for (const Plan& plan : {prepare(nm.view, {.int8_inputs = true}), prepare(bsr.view, {.int8_inputs = true}),
                           prepare(nm.view, {.in_place = true, .int8_inputs = true})}) {
    EXPECT_FALSE(contains(plan.kernel_name(1), "_bytes_"));
    EXPECT_EQ(contains(plan.kernel_name(40), "_bytes_"), has_them);
    std::vector<float> x(40 * 128, 1.0F), y(40 * 32);
    x[0] = INFINITY;
    x[128 + 5] = NAN;
    std::fill_n(x.begin() + 256, 128, 0.0F);
    plan.run({x.data(), 128, y.data(), 32, 40});
    if (has_them) {
      EXPECT_FALSE(std::isfinite(y[0]));
      EXPECT_FALSE(std::isfinite(y[32]));
    }
    EXPECT_EQ(y[64], 0.0F);
    EXPECT_TRUE(std::isfinite(y[96]));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PlanTest,
                         testing::Values(WeightType::kF32, WeightType::kBf16, WeightType::kI8),
                         [](const auto& info) {
                           return info.param == WeightType::kF32    ? "f32"
                                  : info.param == WeightType::kBf16 ? "bf16"
                                                                    : "i8";
                         });

TEST_P(PlanTest, NoInputs) {
  const TestMatrix m = random_matrix(5, 0, GetParam(), {}, rng_);
  for (const int64_t n : {1, 20}) {
    // Y is the bias, or zero.
    ASSERT_NO_FATAL_FAILURE(check(prepare(PackedCsr(m).view), m, n, 1e-5, rng_));
    ASSERT_NO_FATAL_FAILURE(check(prepare(PackedBitmask(m).view), m, n, 1e-5, rng_));
    ASSERT_NO_FATAL_FAILURE(check(prepare(PackedNm(m, 2, 4).view), m, n, 1e-5, rng_));
    ASSERT_NO_FATAL_FAILURE(check(prepare(PackedBsr(m, 5, 4).view), m, n, 1e-5, rng_));
  }
}

TEST(Plan, CallersWorkspace) {
  std::mt19937 rng(test_seed());
  const TestMatrix m = random_matrix(96, 256, WeightType::kF32, {.keep = 2, .group = 4}, rng);
  const PackedNm packed(m, 2, 4);
  const Plan plan = prepare(packed.view);
  for (const int64_t n : {1, 5, 40}) {
    TestBatch own(m, n, false, rng);
    TestBatch shared = own;
    plan.run(own.view());
    // Exactly the bytes that the plan asks for, so that the address sanitizer sees any use past them.
    const size_t bytes = plan.workspace_bytes(n);
    void* workspace = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    plan.run(shared.view(), workspace);
    std::free(workspace);
    EXPECT_EQ(own.y, shared.y);
  }
}

}  // namespace
}  // namespace prune::kernels
