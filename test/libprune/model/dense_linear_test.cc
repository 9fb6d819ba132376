#include "libprune/model/dense_linear.h"

#include <cmath>
#include <random>
#include <thread>
#include <vector>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

using testing::bits_of;

// Eighths up to 4: exact in bf16, so that both types have one reference.
Matrix<float> random_eighths(Index rows, Index cols, std::mt19937& rng) {
  Matrix<float> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = float(int(rng() % 65) - 32) / 8;
  return m;
}

// A bf16 is the upper half of the float that it stands for.
std::vector<uint16_t> as_bf16(const Matrix<float>& m) {
  std::vector<uint16_t> halves;
  for (Index i = 0; i < m.size(); ++i) halves.push_back(uint16_t(bits_of(m.data()[i]) >> 16));
  return halves;
}

// Products of eighths add up exactly below 2^24.
Matrix<float> reference(const Matrix<float>& x, const Matrix<float>& w, const float* bias) {
  Matrix<float> y(x.rows(), w.rows());
  for (Index i = 0; i < x.rows(); ++i) {
    for (Index r = 0; r < w.rows(); ++r) {
      double sum = bias ? bias[r] : 0.0;
      for (Index k = 0; k < w.cols(); ++k) sum += double(x(i, k)) * double(w(r, k));
      y(i, r) = float(sum);
    }
  }
  return y;
}

class DenseLinearTest : public ::testing::TestWithParam<DenseType> {
 protected:
  DenseLinear layer(const Matrix<float>& w, const float* bias = nullptr) const {
    if (GetParam() == DenseType::kF32) return {w.data(), DenseType::kF32, w.rows(), w.cols(), bias};
    return {as_bf16(w).data(), DenseType::kBf16, w.rows(), w.cols(), bias};
  }
  std::mt19937 rng_{testing::test_seed()};
};
INSTANTIATE_TEST_SUITE_P(Types, DenseLinearTest, ::testing::Values(DenseType::kF32, DenseType::kBf16),
                         [](const auto& test) { return test.param == DenseType::kF32 ? "F32" : "Bf16"; });

TEST_P(DenseLinearTest, MatchesTheReference) {
  for (const auto& [rows, cols] : {std::pair(1, 1), std::pair(7, 5), std::pair(64, 96), std::pair(33, 130)}) {
    const Matrix<float> w = random_eighths(rows, cols, rng_);
    const Matrix<float> bias = random_eighths(1, rows, rng_);
    for (const bool biased : {false, true}) {
      const DenseLinear linear = layer(w, biased ? bias.data() : nullptr);
      EXPECT_EQ(linear.rows(), rows);
      EXPECT_EQ(linear.cols(), cols);
      for (const Index n : {1, 2, 17, 1}) {
        const Matrix<float> x = random_eighths(n, cols, rng_);
        Matrix<float> y(n, rows);
        linear.run(x.data(), cols, y.data(), rows, n);
        EXPECT_EQ(y, reference(x, w, biased ? bias.data() : nullptr));
        EXPECT_STRNE(linear.implementation(n), "");
      }
    }
  }
}

TEST_P(DenseLinearTest, RowsMayLieApart) {
  const Matrix<float> w = random_eighths(12, 20, rng_);
  const DenseLinear linear = layer(w);
  const Matrix<float> wide = random_eighths(5, 23, rng_);
  const Matrix<float> x = wide.leftCols(20);
  Matrix<float> y = Matrix<float>::Constant(5, 15, -77);
  linear.run(wide.data(), 23, y.data(), 15, 5);
  const Matrix<float> expected = reference(x, w, nullptr);
  EXPECT_EQ(Matrix<float>(y.leftCols(12)), expected);
  EXPECT_TRUE((y.rightCols(3).array() == -77).all());
}

TEST_P(DenseLinearTest, WeightsAndBiasAreCopied) {
  Matrix<float> w = random_eighths(6, 8, rng_);
  Matrix<float> bias = random_eighths(1, 6, rng_);
  const Matrix<float> x = random_eighths(3, 8, rng_);
  const Matrix<float> expected = reference(x, w, bias.data());
  DenseLinear first = layer(w, bias.data());
  w.setZero();
  bias.setZero();
  const DenseLinear linear = std::move(first);
  Matrix<float> y(3, 6);
  linear.run(x.data(), 8, y.data(), 6, 3);
  EXPECT_EQ(y, expected);
}

TEST_P(DenseLinearTest, ThreadsMayShareALayer) {
  const Matrix<float> w = random_eighths(32, 48, rng_);
  const DenseLinear linear = layer(w);
  const Matrix<float> x = random_eighths(8, 48, rng_);
  const Matrix<float> expected = reference(x, w, nullptr);
  std::vector<Matrix<float>> results(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      const Index n = Index(t % 2 == 0 ? 8 : 5);
      results[t].resize(n, 32);
      for (int i = 0; i < 20; ++i) linear.run(x.data(), 48, results[t].data(), 32, n);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Matrix<float>& y : results) EXPECT_EQ(y, Matrix<float>(expected.topRows(y.rows())));
}

TEST_P(DenseLinearTest, TakesBf16WhereItSaysSo) {
  const Matrix<float> w = random_eighths(6, 8, rng_);
  const Matrix<float> x = random_eighths(3, 8, rng_);
  const DenseLinear linear = layer(w);
  Matrix<float> y(3, 6);
  const auto run = [&] { linear.run_bf16(as_bf16(x).data(), 8, y.data(), 6, 3); };
  if (!linear.takes_bf16()) {
    EXPECT_EQ(testing::refusal(ErrorKind::kUsage, "holds float weights", run), "");
    return;
  }
  EXPECT_EQ(GetParam(), DenseType::kBf16);
  run();
  EXPECT_EQ(y, reference(x, w, nullptr));
}

TEST(DenseLinearRounding, XIsRoundedToNearestEven) {
  const uint16_t one = 0x3f80;
  const DenseLinear linear(&one, DenseType::kBf16, 1, 1);
  if (!linear.takes_bf16()) GTEST_SKIP() << "no bf16 products here";
  const auto rounded = [&](float x) {
    float y = 0;
    linear.run(&x, 1, &y, 1, 1);
    return y;
  };
  EXPECT_EQ(rounded(1 + std::ldexp(1.0f, -8)), 1.0f);                             // a tie, down to even
  EXPECT_EQ(rounded(1 + 3 * std::ldexp(1.0f, -8)), 1 + std::ldexp(1.0f, -6));     // a tie, up to even
  EXPECT_EQ(rounded(1 + 1.5f * std::ldexp(1.0f, -8)), 1 + std::ldexp(1.0f, -7));  // above the middle
  EXPECT_EQ(rounded(-(1 + std::ldexp(1.0f, -9))), -1.0f);
  EXPECT_EQ(rounded(INFINITY), INFINITY);
  EXPECT_TRUE(std::isnan(rounded(NAN)));
  EXPECT_TRUE(std::isnan(rounded(testing::from_bits<float>(0x7f800001))));  // all its bits are cut off
}

// Enough of X that threads share the rounding, in rows that lie apart.
TEST(DenseLinearRounding, EveryRowOfALargeXIsRounded) {
  std::mt19937 rng{testing::test_seed()};
  const Index n = 67, cols = 1000, ldx = 1003;
  const Matrix<float> w = random_eighths(5, cols, rng);
  const Matrix<float> wide = random_eighths(n, ldx, rng);
  const DenseLinear linear(as_bf16(w).data(), DenseType::kBf16, w.rows(), cols);
  Matrix<float> y(n, 5);
  linear.run(wide.data(), ldx, y.data(), 5, n);
  EXPECT_EQ(y, reference(wide.leftCols(cols), w, nullptr));
}

TEST(DenseLinearShape, RefusesNothing) {
  const float w = 1;
  for (const auto& shape : {std::pair(0, 1), std::pair(1, 0), std::pair(-1, 1)}) {
    EXPECT_EQ(testing::refusal(ErrorKind::kUsage, "no rows or columns",
                               [&] { DenseLinear(&w, DenseType::kF32, shape.first, shape.second); }),
              "");
  }
}

TEST(DenseLinearShape, LibraryVersion) {
  EXPECT_NE(std::string(DenseLinear::library_version()).find('.'), std::string::npos);
}

}  // namespace
}  // namespace prune
