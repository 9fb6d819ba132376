// Expanded rows against the matrix that was packed: every format, type and instruction set, rows in the
// middle.
#include "kernels/sparse/expand/expand.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/sparse/row_source.h"
#include "test/kernels/packing.h"

namespace prune::kernels {
namespace {

// Nothing may be written behind the last row.
constexpr unsigned char kGuard = 0xa5;

template <class Packed>
void expect_expanded(const TestMatrix& m, const Packed& packed, int64_t first, int64_t count) {
  const WeightType type = expanded_type(packed.view);
  for (const uint32_t isa :
       {uint32_t{isa::kGeneric}, isa::supported() & ~uint32_t{isa::kAvx512Bf16}, isa::supported()}) {
    const size_t bytes = static_cast<size_t>(count * m.cols * weight_bytes(type));
    std::vector<unsigned char> out(bytes + 64, kGuard);
    expand(packed.view, first, count, out.data(), isa);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t k = 0; k < m.cols; ++k) {
        ASSERT_EQ(load_weight(out.data(), type, i * m.cols + k),
                  m.scale_group == 0 ? m.at(first + i, k) : m.at(first + i, k) * m.scale(first + i, k))
            << "isa " << isa << ", type " << int(m.type) << ", row " << first + i << ", column " << k;
      }
    }
    for (size_t i = bytes; i < out.size(); ++i) ASSERT_EQ(out[i], kGuard);
  }
}

class Expand : public ::testing::TestWithParam<WeightType> {
 protected:
  std::mt19937 rng_{test_seed()};
  TestMatrix matrix(int64_t rows, int64_t cols, const Sparsity& s) {
    return random_matrix(rows, cols, GetParam(), s, rng_);
  }
};
INSTANTIATE_TEST_SUITE_P(Types, Expand,
                         ::testing::Values(WeightType::kF32, WeightType::kBf16, WeightType::kI8,
                                           WeightType::kF16));

TEST_P(Expand, Nm) {
  for (const int64_t cols : {8, 12, 32, 36, 100, 256}) {
    const TestMatrix m = matrix(7, cols, {.keep = 2, .group = 4});
    expect_expanded(m, PackedNm(m, 2, 4), 0, 7);
    expect_expanded(m, PackedNm(m, 2, 4), 3, 2);
  }
  const TestMatrix m = matrix(5, 48, {.keep = 3, .group = 8});
  expect_expanded(m, PackedNm(m, 3, 8), 1, 4);
}

TEST_P(Expand, BitmaskAndCsr) {
  for (const int64_t cols : {1, 7, 16, 31, 33, 65, 200}) {
    for (const double density : {0.0, 0.3, 1.0}) {
      const TestMatrix m = matrix(6, cols, {.density = density});
      expect_expanded(m, PackedBitmask(m), 0, 6);
      expect_expanded(m, PackedBitmask(m), 2, 3);
      expect_expanded(m, PackedCsr(m), 2, 3);
    }
  }
}

TEST_P(Expand, Windows) {
  for (const int64_t cols : {1, 31, 64, 200}) {
    for (const double density : {0.0, 0.2, 1.0}) {
      const TestMatrix m = matrix(37, cols, {.density = density});
      expect_expanded(m, PackedWindows(m, 4), 0, 37);
      expect_expanded(m, PackedWindows(m, 4), 16, 16);
      expect_expanded(m, PackedWindows(m, 32), 32, 3);
    }
  }
}

TEST_P(Expand, ScalesOfGroups) {
  if (GetParam() != WeightType::kI8) GTEST_SKIP() << "of int8 only";
  TestMatrix nm = matrix(7, 100, {.keep = 2, .group = 4}), any = matrix(6, 201, {.density = 0.3});
  TestMatrix blocks = matrix(24, 40, {.density = 0.5, .block_rows = 4, .block_cols = 8});
  for (TestMatrix* m : {&nm, &any, &blocks}) give_group_scales(*m, 32, rng_);
  expect_expanded(nm, PackedNm(nm, 2, 4), 3, 2);
  expect_expanded(any, PackedBitmask(any), 2, 3);
  expect_expanded(any, PackedCsr(any), 2, 3);
  expect_expanded(any, PackedWindows(any, 5), 0, 6);
  expect_expanded(blocks, PackedBsr(blocks, 4, 8), 8, 12);
}

TEST_P(Expand, Blocks) {
  const TestMatrix m = matrix(24, 40, {.density = 0.5, .block_rows = 4, .block_cols = 8});
  expect_expanded(m, PackedBsr(m, 4, 8), 0, 24);
  expect_expanded(m, PackedBsr(m, 4, 8), 8, 12);
}

// Of every kind: zeros, subnormal and normal numbers, infinities and NaN.
float half_by_definition(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
  float value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  if (exponent == 31) value = fraction == 0 ? INFINITY : NAN;
  return bits >> 15 != 0 ? -value : value;
}

TEST(Expand, EveryHalf) {
  constexpr int64_t kHalves = 65536;
  std::vector<uint16_t> halves(kHalves), stored(kHalves);
  for (int64_t i = 0; i < kHalves; ++i) halves[i] = static_cast<uint16_t>(i);
  const std::vector<uint8_t> mask(kHalves / 8, 0xff);
  const int64_t offsets[] = {0, kHalves};
  BitmaskWeights w;
  w.rows = 1;
  w.cols = kHalves;
  w.type = WeightType::kF16;
  w.values = halves.data();
  w.bitmask = mask.data();
  w.row_offsets = offsets;
  for (const uint32_t isa : {uint32_t{isa::kGeneric}, isa::supported()}) {
    std::vector<float> out(kHalves);
    expand(w, 0, 1, out.data(), isa);
    for (int64_t i = 0; i < kHalves; ++i) {
      const float expected = half_by_definition(static_cast<uint32_t>(i));
      ASSERT_EQ(std::signbit(out[i]), i >= kHalves / 2) << i;
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(out[i])) << i;
        continue;
      }
      ASSERT_EQ(out[i], expected) << i;
      store_weight(stored.data(), WeightType::kF16, i, out[i]);
      ASSERT_EQ(stored[i], i);
    }
  }
}

}  // namespace
}  // namespace prune::kernels
