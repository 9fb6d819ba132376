#include "kernels/sparse/masked_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "test/kernels/packing.h"

namespace prune::kernels {
namespace {

struct MaskWords {
  std::vector<uint64_t> words;
  MaskBits bits;

  explicit MaskWords(const TestMatrix& m) {
    const int64_t per_row = (m.cols + 63) / 64;
    words.resize(static_cast<size_t>(m.rows * per_row));
    for (int64_t i = 0; i < m.rows * m.cols; ++i) {
      const int64_t r = i / m.cols, c = i % m.cols;
      if (m.weights[i] != 0.0f) words[r * per_row + c / 64] |= uint64_t{1} << c % 64;
    }
    bits = {m.rows, m.cols, words.data(), per_row};
  }
};

class MaskedPlanTest : public testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    if (!isa::runs_on(GetParam(), isa::supported())) GTEST_SKIP() << "not on this processor";
  }

  std::vector<float> random(int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(rng_);
    return values;
  }

  // Y = X W^T, or X W, of weights that stay, against sums in double precision.
  void check(const MaskedPlan& plan, const MaskBits& mask, const std::vector<float>& weights,
             Direction direction, int64_t n) {
    const bool forward = direction == Direction::kForward;
    const int64_t in = forward ? mask.cols : mask.rows, out = forward ? mask.rows : mask.cols;
    const int64_t ldx = in + 3, ldy = out + 5;
    const std::vector<float> x = random(n * ldx), bias = random(out);
    std::vector<float> y(static_cast<size_t>(n * ldy), 7.0f);
    plan.run({x.data(), ldx, y.data(), ldy, n, bias.data()});
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t o = 0; o < out; ++o) {
        double sum = bias[o], scale = std::abs(sum);
        for (int64_t k = 0; k < in; ++k) {
          const int64_t r = forward ? o : k, c = forward ? k : o;
          if (!mask.stays(r, c)) continue;
          const double product = double{x[i * ldx + k]} * double{weights[r * mask.cols + c]};
          sum += product;
          scale += std::abs(product);
        }
        ASSERT_NEAR(y[i * ldy + o], sum, 1e-5 * scale) << "row " << i << ", output " << o << ", n = " << n;
      }
      for (int64_t o = out; o < ldy; ++o) ASSERT_EQ(y[i * ldy + o], 7.0f) << "written past row " << i;
    }
  }

  std::mt19937 rng_{test_seed()};
};

TEST_P(MaskedPlanTest, MultipliesTheLastWeightsItWasGivenUnderTheMask) {
  const Sparsity kinds[] = {{.density = 0},
                            {.density = 0.1},
                            {.density = 0.5},
                            {.density = 1},
                            {.density = 0.4, .block_rows = 16, .block_cols = 16},
                            {.keep = 2, .group = 4}};
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{16, 16}, {48, 208}, {272, 128}}) {
    for (const Sparsity& kind : kinds) {
      const MaskWords mask(random_matrix(rows, cols, WeightType::kF32, kind, rng_));
      for (const Direction direction : {Direction::kForward, Direction::kBackward}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << cols << ", density " << kind.density
                                        << (direction == Direction::kForward ? ", forward" : ", backward")
                                        << ", seed " << test_seed());
        MaskedPlan plan(mask.bits, direction, GetParam());
        for (const int64_t n : {1, 17, 70}) {
          // Weights that do not stay are no zeros here, and must be left out all the same.
          const std::vector<float> weights = random(rows * cols);
          plan.refresh(weights.data());
          check(plan, mask.bits, weights, direction, n);
        }
      }
    }
  }
}

TEST_P(MaskedPlanTest, TakesShapesOffEveryTile) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {5, 7}, {130, 75}, {75, 130}}) {
    const MaskWords mask(random_matrix(rows, cols, WeightType::kF32, {.density = 0.5}, rng_));
    const std::vector<float> weights = random(rows * cols);
    for (const Direction direction : {Direction::kForward, Direction::kBackward}) {
      MaskedPlan plan(mask.bits, direction, GetParam());
      plan.refresh(weights.data());
      MaskedPlan moved = std::move(plan);
      moved.refresh(weights.data());
      check(moved, mask.bits, weights, direction, 33);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, MaskedPlanTest,
                         testing::Values(0u, isa::kAvx2, isa::kAvx512, isa::kAvx512Bf16));

}  // namespace
}  // namespace prune::kernels
