// Plans as callers make them, against a product in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/sparse/isa.h"
#include "kernels/sparse/plan.h"
#include "test/kernels/packing.h"
#include "test/kernels/product_check.h"

namespace prune::kernels {
namespace {

// Every format, the best kernels, few and many rows.
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
      // No block and all of them: what each kernel makes of that is spmm_test.cc's.
      if (density != 0.2 && rows != 16 && rows != 3) continue;
      const TestMatrix m = random_matrix(rows * (1 + 70 / rows), cols * (1 + 130 / cols), GetParam(),
                                         {.density = density, .block_rows = rows, .block_cols = cols}, rng_);
      const PackedBsr packed(m, rows, cols);
      ASSERT_EQ(find_fault(packed.view, packed.values.size()), nullptr);
      ASSERT_NO_FATAL_FAILURE(check_plan(m, packed.view));
    }
  }
}

// f16 in every format: kernels of its own, or as floats.
TEST(Plan, Halves) {
  std::mt19937 rng(test_seed());
  const auto check_all = [&](const TestMatrix& m, const auto& packed) {
    const Plan plan = prepare(packed.view);
    for (const int64_t n : {1, 20}) ASSERT_NO_FATAL_FAILURE(check(plan, m, n, 1e-5, rng));
  };
  const TestMatrix nm = random_matrix(19, 132, WeightType::kF16, {.keep = 2, .group = 4}, rng);
  check_all(nm, PackedNm(nm, 2, 4));
  const TestMatrix any = random_matrix(19, 133, WeightType::kF16, {.density = 0.4}, rng);
  check_all(any, PackedBitmask(any));
  check_all(any, PackedCsr(any));
  check_all(any, PackedWindows(any, 9));
  const TestMatrix blocks =
      random_matrix(32, 64, WeightType::kF16, {.density = 0.5, .block_rows = 16, .block_cols = 16}, rng);
  check_all(blocks, PackedBsr(blocks, 16, 16));
}

// Empty places are no weights: windows run on what the same weights as CSR run on.
TEST_P(PlanTest, Windows) {
  const TestMatrix m = random_matrix(40, 301, GetParam(), {.density = 0.1}, rng_);
  const PackedWindows packed(m, 8);  // places for a quarter
  ASSERT_EQ(find_fault(packed.view, packed.values.size()), nullptr);
  ASSERT_NO_FATAL_FAILURE(check_plan(m, packed.view));
  const PackedCsr csr(m);
  const Plan plan = prepare(packed.view), other = prepare(csr.view);
  for (const int64_t n : {1, 40}) EXPECT_STREQ(plan.kernel_name(n), other.kernel_name(n));
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
  const TestMatrix m = random_matrix(20, 100, WeightType::kBf16, {.density = 0.1}, rng);
  const PackedWindows windows(m, 3);
  EXPECT_FALSE(prepare(windows.view).is_in_place());
  EXPECT_EQ(prepare(windows.view, {.in_place = true}).is_in_place(),
            isa::runs_on(isa::kAvx512, isa::supported()));
  EXPECT_FALSE(Plan().is_in_place());
}

// A bitmask of them is faster where more stay, and where nobody says how many do.
TEST(Plan, ReadsCsrInPlaceWhereLittleStays) {
  std::mt19937 rng(test_seed());
  for (const WeightType type : {WeightType::kF32, WeightType::kBf16, WeightType::kI8}) {
    for (const double density : {0.05, 0.3}) {
      const TestMatrix m = random_matrix(20, 300, type, {.density = density}, rng);
      PackedCsr csr(m);
      EXPECT_FALSE(prepare(csr.view).is_in_place());
      const Plan plan = prepare(csr.view, {.in_place = true});
      EXPECT_EQ(plan.is_in_place(), density < 0.1 && isa::runs_on(isa::kAvx2, isa::supported()));
      for (const int64_t n : {1, 9, 16, 17, 40})
        ASSERT_NO_FATAL_FAILURE(check(plan, m, n, bound_of(plan.kernel_name(n)), rng));
      csr.view.values_count = 0;
      EXPECT_FALSE(prepare(csr.view, {.in_place = true}).is_in_place());
    }
  }
}

// What is made of weights in floats for every batch of many rows pays from more rows on.
TEST(Plan, FewRowsInFloatsAreMultipliedInPlace) {
  std::mt19937 rng(test_seed());
  const auto expect_most = [](const auto& packed, uint32_t isa, int64_t rows) {
    const Plan plan = prepare(packed.view, {.isa = isa, .in_place = true});
    EXPECT_TRUE(std::string_view(plan.kernel_name(rows)).starts_with("in_place_")) << rows;
    EXPECT_FALSE(std::string_view(plan.kernel_name(rows + 1)).starts_with("in_place_")) << rows;
    EXPECT_TRUE(plan.is_in_place());
  };
  int runs = 0;
  for (const uint32_t isa : {uint32_t{isa::kAvx2}, uint32_t{isa::kAvx2 | isa::kAvx512}}) {
    if (!isa::runs_on(isa, isa::supported())) continue;
    ++runs;
    const bool wide = isa::runs_on(isa::kAvx512, isa);
    for (const WeightType type : {WeightType::kF32, WeightType::kBf16, WeightType::kF16, WeightType::kI8}) {
      expect_most(PackedNm(random_matrix(32, 64, type, {.keep = 2, .group = 4}, rng), 2, 4), isa,
                  wide ? 12 : 16);
      expect_most(PackedBitmask(random_matrix(32, 64, type, {.density = 0.5}, rng)), isa, wide ? 12 : 16);
      const Sparsity blocks{.density = 0.5, .block_rows = 16, .block_cols = 16};
      expect_most(PackedBsr(random_matrix(32, 64, type, blocks, rng), 16, 16), isa,
                  wide                      ? 12
                  : type == WeightType::kI8 ? 40
                                            : 24);
    }
  }
  if (runs == 0) GTEST_SKIP() << "this processor has no AVX2";
}

// Of arrays that nobody can read: loading a file that is mapped touches none of its pages.
TEST(Plan, InPlaceReadsNothingBeforeItRuns) {
  constexpr uintptr_t kNowhere = 64;
  int plans = 0;
  // by_avx2: that takes the format in every type.
  const auto check_unread = [&](bool by_avx2, auto view, auto... arrays) {
    view.rows = 32;
    view.cols = 256;
    if (view.values_count == 0) view.values_count = 400;
    const auto close = [&](auto& array) {
      array = reinterpret_cast<std::decay_t<decltype(array)>>(kNowhere);
    };
    (close(view.*arrays), ...);
    close(view.values);
    for (const WeightType type : {WeightType::kF32, WeightType::kBf16, WeightType::kF16, WeightType::kI8}) {
      view.type = type;
      if (type == WeightType::kI8) close(view.scales);
      for (const Use use : {Use::kInPlace, Use::kManyRowsInPlace}) {
        for (const uint32_t isa : {isa::supported(), isa::supported() & ~uint32_t{isa::kAvx512Bf16}}) {
          const Plan plan = prepare(view, {.isa = isa, .use = use, .in_place = true});
          if (by_avx2 && use == Use::kInPlace && isa::runs_on(isa::kAvx2, isa::supported())) {
            EXPECT_GT(plan.rows(), 0);
          }
          if (plan.rows() == 0) continue;  // no such kernel on this machine
          ++plans;
          EXPECT_TRUE(plan.is_in_place());
          EXPECT_FALSE(std::string_view(plan.kernel_name(1)).empty());
          EXPECT_EQ(plan.own_bytes(), 0U);
        }
      }
    }
  };
  BsrWeights blocks;
  blocks.block_rows = blocks.block_cols = 16;
  WindowsWeights windows;
  windows.steps = 8;
  BitmaskWeights bitmask;
  bitmask.values_count = 4000;  // of fewer, column numbers are laid out
  check_unread(true, NmWeights(), &NmWeights::indices);
  check_unread(false, CsrWeights(), &CsrWeights::indices, &CsrWeights::indptr);
  check_unread(true, bitmask, &BitmaskWeights::bitmask, &BitmaskWeights::row_offsets);
  check_unread(true, blocks, &BsrWeights::indices, &BsrWeights::indptr);
  check_unread(false, windows, &WindowsWeights::columns, &WindowsWeights::tail_columns,
               &WindowsWeights::tail_counts);
  if (plans == 0) GTEST_SKIP() << "this processor has no kernel that multiplies in place";
}

// Who comes first makes what others wait for.
TEST(Plan, InPlaceIsFirstRunByManyThreads) {
  std::mt19937 rng(test_seed());
  const TestMatrix m = random_matrix(64, 320, WeightType::kBf16, {.density = 0.4}, rng);
  const PackedBitmask packed(m);
  const std::vector<float> x(320, 0.5F);
  const auto run = [&](const Plan& plan) {
    std::vector<float> y(64);
    plan.run({x.data(), 320, y.data(), 64, 1});
    return y;
  };
  const PrepareOptions options{.use = Use::kInPlace, .in_place = true};
  const Plan once = prepare(packed.view, options);
  if (once.rows() == 0) GTEST_SKIP() << "this processor has no kernel that multiplies bitmasks in place";
  const std::vector<float> expected = run(once);
  for (int round = 0; round < 20; ++round) {
    const Plan plan = prepare(packed.view, options);
    std::vector<std::vector<float>> results(3);
    std::vector<std::thread> threads;
    for (auto& y : results) threads.emplace_back([&] { y = run(plan); });
    for (std::thread& thread : threads) thread.join();
    for (const auto& y : results) EXPECT_EQ(y, expected);
  }
}

// Every format, where it lies and rearranged, with and without the kernels for it.
TEST(Plan, ScalesOfGroups) {
  std::mt19937 rng(test_seed());
  const auto check_plans = [&](TestMatrix m, const auto& pack) {
    give_group_scales(m, 64, rng);
    const auto packed = pack(m);
    for (const uint32_t isa :
         {isa::supported(), isa::supported() & ~uint32_t{isa::kAvx512Bf16}, uint32_t{isa::kGeneric}}) {
      for (const PrepareOptions& options : {PrepareOptions{.isa = isa},
                                            {.isa = isa, .in_place = true},
                                            {.isa = isa, .use = Use::kManyRowsInPlace, .in_place = true}}) {
        const Plan plan = prepare(packed.view, options);
        if (plan.rows() == 0) continue;  // nothing takes many rows where they lie
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
  check_plans(random(21, 201, {.density = 0.1}), [](const auto& m) { return PackedWindows(m, 4); });
  check_plans(random(48, 160, {.density = 0.4, .block_rows = 16, .block_cols = 16}),
              [](const auto& m) { return PackedBsr(m, 16, 16); });
  check_plans(random(24, 210, {.density = 0.4, .block_rows = 3, .block_cols = 5}),
              [](const auto& m) { return PackedBsr(m, 3, 5); });
}

// Each of the three layouts that there may be, and at their borders.
TEST(Plan, BytesOfAnyBatch) {
  std::mt19937 rng(test_seed());
  const TestMatrix m = random_matrix(36, 132, WeightType::kI8, {.keep = 2, .group = 4}, rng);
  const PackedNm nm(m, 2, 4);
  const Plan plan = prepare(nm.view, {.int8_inputs = true});
  for (const int64_t n : {1, 8, 9, 48, 49, 130})
    ASSERT_NO_FATAL_FAILURE(check(plan, m, n, bound_of(plan.kernel_name(n)), rng));
  const bool by_lists = isa::works_in_halves() && contains(plan.kernel_name(48), "_bytes_");
  EXPECT_EQ(contains(plan.kernel_name(49), "pattern_lists_bytes"), by_lists);
  EXPECT_FALSE(contains(plan.kernel_name(48), "pattern_lists"));
  EXPECT_EQ(plan.bytes(), plan.own_bytes());
  EXPECT_EQ(plan.bytes(), prepare(nm.view, {.use = Use::kFewRows}).bytes() +
                              prepare(nm.view, {.use = Use::kManyRows, .int8_inputs = true}).bytes());
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

// Scales of groups have no kernel in bytes: what was asked for must not move a batch to another kernel.
TEST(Plan, BytesAskedForInVainChangeNothing) {
  std::mt19937 rng(test_seed());
  TestMatrix m = random_matrix(32, 128, WeightType::kI8, {.keep = 2, .group = 4}, rng);
  give_group_scales(m, 32, rng);
  const PackedNm nm(m, 2, 4);
  for (const bool in_place : {false, true}) {
    const Plan plain = prepare(nm.view, {.in_place = in_place});
    const Plan asked = prepare(nm.view, {.in_place = in_place, .int8_inputs = true});
    for (const int64_t n : {1, 8, 9, 12, 13, 16, 24, 25, 40})
      EXPECT_STREQ(asked.kernel_name(n), plain.kernel_name(n)) << n << " rows";
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
