// What tests of single kernels share: a kernel by its name, and the product with it checked.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/sparse/plan.h"
#include "test/kernels/kernel_lists.h"
#include "test/kernels/packing.h"
#include "test/kernels/product_check.h"

namespace prune::kernels {

// The weight types that a kernel takes, from its name: <op>_<type>_<isa>. Row lists take any type, but those
// in bf16 would round float weights.
inline std::vector<WeightType> types_of(const std::string& kernel) {
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
inline int inputs_together_in(const std::string& kernel) {
  if (contains(kernel, "bsr_lanes_")) return 16;
  return contains(kernel, "_bytes_") ? 4 : contains(kernel, "_bf16_avx512bf16") ? 2 : 1;
}

// Blocks must be a multiple of this high: bsr16_f32_avx512 takes strips of 16 rows, bsr_tile4_* strips of 4.
inline int strip_rows_of(const std::string& kernel) {
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

inline std::string kernel_of(const testing::TestParamInfo<KernelLine>& info) { return info.param.name; }

}  // namespace prune::kernels
