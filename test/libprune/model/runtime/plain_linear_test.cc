#include "libprune/model/plain_linear.h"

#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <prune/matrix.h>
#include <nlohmann/json.hpp>

#include "libprune/model/crossover.h"
#include "libprune/model/tuning.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

// Small whole numbers: every order of summing gives the same.
template <class T>
Matrix<T> whole_numbers(Index rows, Index cols, std::mt19937& rng) {
  Matrix<T> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = T(float(int(rng() % 17) - 8));
  return m;
}

// Batches between which the ways change places more than once: what is lost over all of them decides.
TEST(Crossover, LeastRegret) {
  using Times = std::vector<BatchTimes>;
  EXPECT_EQ(least_regret(Times{{4, 1, 3}, {8, 2, 3}, {16, 4, 3}, {32, 8, 4}}), 16);
  EXPECT_EQ(least_regret(Times{{4, 1, 3}, {8, 2, 3}, {16, 4, 5}}), kNever);
  EXPECT_EQ(least_regret(Times{{4, 3, 1}, {8, 3, 2}}), 4);
  // Dense is twice as fast at 16 and a tenth slower at 32.
  EXPECT_EQ(least_regret(Times{{8, 1, 2}, {16, 4, 2}, {32, 4, 4.4}}), 16);
  EXPECT_EQ(least_regret(Times{{8, 1, 2}, {16, 4, 3}, {32, 4, 8}}), kNever);
  // Hardly faster is no reason.
  EXPECT_EQ(least_regret(Times{{8, 1, 0.97}}), kNever);
}

template <class T>
void expect_products(DenseType type, Rounding rounding) {
  std::mt19937 rng(3);
  const Matrix<T> w = whole_numbers<T>(37, 75, rng);
  std::vector<float> bias(37);
  for (size_t r = 0; r < bias.size(); ++r) bias[r] = float(r);
  const PlainLinear layer(type, w.data(), 37, 75, bias.data(), {.rounding = rounding, .dense_from = 20});
  EXPECT_STREQ(layer.kernel_name(20), "dense");
  EXPECT_THAT(layer.kernel_name(19), ::testing::StartsWith("plain"));
  for (const Index n : {0, 1, 5, 19, 20, 33}) {
    const Matrix<float> x = whole_numbers<float>(n, 80, rng);
    Matrix<float> y = Matrix<float>::Constant(n, 40, -99);
    layer.forward(x.data(), 80, y.data(), 40, n);
    const Matrix<float> wide = w.template cast<float>();
    for (Index i = 0; i < n; ++i) {
      for (Index r = 0; r < 37; ++r)
        ASSERT_EQ(y(i, r), x.row(i).head(75).dot(wide.row(r)) + bias[size_t(r)])
            << n << ", " << i << ", " << r;
      for (Index r = 37; r < 40; ++r) ASSERT_EQ(y(i, r), -99);
    }
  }
}

TEST(PlainLinear, EveryTypeAndRounding) {
  expect_products<float>(DenseType::kF32, Rounding::kBf16);
  expect_products<bf16>(DenseType::kBf16, Rounding::kBf16);
  expect_products<bf16>(DenseType::kBf16, Rounding::kNone);
}

TEST(PlainLinear, FloatRoundingRoundsNothing) {
  const Matrix<bf16> w = Matrix<bf16>::Constant(4, 1, bf16(1.0F));
  const PlainLinear layer(DenseType::kBf16, w.data(), 4, 1, nullptr,
                          {.rounding = Rounding::kNone, .dense_from = 2});
  const float x[] = {1.0F + 0x1p-22F, 1.0F + 0x1p-21F};
  float y[8];
  layer.forward(x, 1, y, 4, 1);
  EXPECT_EQ(y[0], x[0]);
  layer.forward(x, 1, y, 4, 2);
  EXPECT_EQ(y[4], x[1]);
}

// Another layer of the kind takes what the table's file says, here a number that nobody would measure.
TEST(PlainLinear, MeasuresOnceForAKindOfLayer) {
  const Matrix<bf16> w = Matrix<bf16>::Constant(40, 70, bf16(1.0F));
  const testing::TempFolder folder;
  TuningTable written(folder.path());
  const PlainLinear first(DenseType::kBf16, w.data(), 33, 65, nullptr, {.tuning = &written});
  nlohmann::json document = nlohmann::json::parse(testing::read_file(written.file()));
  ASSERT_EQ(document.at("numbers").size(), 1U);
  for (auto& number : document.at("numbers")) number = 7;
  testing::write_file(written.file(), document.dump());
  TuningTable read(folder.path());
  const PlainLinear other(DenseType::kBf16, w.data(), 40, 70, nullptr, {.tuning = &read});
  EXPECT_STREQ(other.kernel_name(7), "dense");
  EXPECT_STRNE(other.kernel_name(6), "dense");
}

}  // namespace
}  // namespace prune
