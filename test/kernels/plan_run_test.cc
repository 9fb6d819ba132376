// How plans run: they allocate nothing, and threads may share one.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "kernels/sparse/plan.h"
#include "test/kernels/packing.h"

// Sanitizers bring operators of their own.
#if defined(PRUNE_COUNTS_ALLOCATIONS)
namespace {

std::atomic<int64_t> allocations;

void* allocate(size_t bytes, size_t alignment) {
  ++allocations;
  const size_t whole = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  if (void* memory = std::aligned_alloc(alignment, whole)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// Of the whole program; all other forms of new call these.
void* operator new(size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
#endif

namespace prune::kernels {
namespace {

constexpr int64_t kRows = 256, kCols = 512;

// Every format and type, rearranged, where the arrays lie, and with X in bytes. Arrays outlive the plan.
class PlanRun : public testing::TestWithParam<WeightType> {
 protected:
  template <class Test>
  void for_every_plan(const Test& test) {
    for (const bool in_place : {false, true}) {
      for (const bool int8_inputs : {false, true}) {
        const PrepareOptions options{.in_place = in_place, .int8_inputs = int8_inputs};
        SCOPED_TRACE(testing::Message()
                     << (in_place ? "in place" : "rearranged") << (int8_inputs ? ", inputs in bytes" : ""));
        test(prepare(nm_.view, options));
        test(prepare(bitmask_.view, options));
        test(prepare(csr_.view, options));
        test(prepare(windows_.view, options));
        test(prepare(blocks_.view, options));
        test(prepare(low_blocks_.view, options));
        if (GetParam() == WeightType::kI8) test(prepare(dense_.view, options));
      }
    }
  }
  TestMatrix matrix(const Sparsity& sparsity) {
    return random_matrix(kRows, kCols, GetParam(), sparsity, rng_);
  }

  std::mt19937 rng_{test_seed()};
  // Views point into the matrices, whose scales they use.
  const TestMatrix two_of_four_ = matrix({.keep = 2, .group = 4}), half_ = matrix({.density = 0.5}),
                   tenth_ = matrix({.density = 0.1}),
                   squares_ = matrix({.density = 0.3, .block_rows = 16, .block_cols = 16}),
                   strips_ = matrix({.density = 0.3, .block_rows = 1, .block_cols = 16});
  const PackedNm nm_{two_of_four_, 2, 4};
  const PackedBitmask bitmask_{half_};
  const PackedCsr csr_{half_};
  const PackedWindows windows_{tenth_, 5};
  const PackedBsr blocks_{squares_, 16, 16}, low_blocks_{strips_, 1, 16};
  const PackedDense dense_{half_};
};

struct Product {
  explicit Product(int64_t rows_of_x)
      : n(rows_of_x), x(static_cast<size_t>(n * kCols)), y(static_cast<size_t>(n * kRows)) {
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 13) - 6;
  }
  Batch view() { return {x.data(), kCols, y.data(), kRows, n}; }

  int64_t n;
  std::vector<float> x, y;
};

// A few rows, more of them by the second layout, and enough for several threads.
constexpr int64_t kBatches[] = {1, 7, 40, 130};

#if defined(PRUNE_COUNTS_ALLOCATIONS)
TEST_P(PlanRun, AllocatesNothing) {
  ASSERT_GT(allocations, 0);  // of the arrays: they are counted
  for_every_plan([](const Plan& plan) {
    for (const int64_t n : kBatches) {
      Product product(n);
      const size_t bytes = plan.workspace_bytes(n);
      const std::unique_ptr<void, decltype(&std::free)> workspace(
          std::aligned_alloc(64, (bytes + 64) / 64 * 64), std::free);
      const int64_t before = allocations;
      plan.run(product.view(), workspace.get());
      EXPECT_EQ(allocations, before) << plan.kernel_name(n) << ", n = " << n << ", the caller's workspace";
      plan.run(product.view());  // the thread's own grows
      const int64_t grown = allocations;
      plan.run(product.view());
      EXPECT_EQ(allocations, grown) << plan.kernel_name(n) << ", n = " << n;
    }
  });
}
#endif

TEST_P(PlanRun, ThreadsShareAPlan) {
  for_every_plan([](const Plan& plan) {
    for (const int64_t n : kBatches) {
      std::vector<Product> products(3, Product(n));
      std::vector<std::thread> threads;
      threads.reserve(products.size());
      for (Product& product : products) threads.emplace_back([&] { plan.run(product.view()); });
      for (std::thread& thread : threads) thread.join();
      Product alone(n);
      plan.run(alone.view());
      for (const Product& product : products)
        EXPECT_EQ(product.y, alone.y) << plan.kernel_name(n) << ", n = " << n;
    }
  });
}

constexpr const char* kTypeNames[] = {"f32", "bf16", "i8", "f16"};

INSTANTIATE_TEST_SUITE_P(
    Types, PlanRun, testing::Values(WeightType::kF32, WeightType::kBf16, WeightType::kI8, WeightType::kF16),
    [](const auto& info) { return std::string(kTypeNames[static_cast<int>(info.param)]); });

}  // namespace
}  // namespace prune::kernels
