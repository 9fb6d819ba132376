#include <prune/prune.h>

#include <utility>

#include <gtest/gtest.h>

namespace prune {
namespace {

template <class M>
concept Viewable = requires(M&& m) {
  view(std::forward<M>(m));
};

// What outlives the call may be viewed, a temporary may not.
static_assert(Viewable<Matrix<float>&>);
static_assert(Viewable<const Matrix<float>&>);
static_assert(Viewable<ConstView<bf16>&>);
static_assert(!Viewable<Matrix<float>>);
static_assert(!Viewable<const Matrix<float>>);
static_assert(!Viewable<ConstView<float>>);

static_assert(RowMajorMatrix<Matrix<double>> && RowMajorMatrix<Matrix<float>> &&
              RowMajorMatrix<Matrix<f16>> && RowMajorMatrix<Matrix<bf16>> &&
              RowMajorMatrix<Matrix<f8_e4m3>> && RowMajorMatrix<Matrix<f8_e5m2>>);
static_assert(!RowMajorMatrix<Eigen::MatrixXf>, "column-major");
static_assert(!RowMajorMatrix<Matrix<int>> && !RowMajorMatrix<Matrix<long double>>, "scalars without keys");

template <class M>
concept Selectable = requires(const M& scores) {
  select(scores, Pattern(), 0.5);
};
static_assert(Selectable<Matrix<float>>);
static_assert(!Selectable<Matrix<int>>);
static_assert(!Selectable<BlockScores>, "they have their own select(), which needs no pattern");

TEST(Matrix, ViewsShareTheMemory) {
  Matrix<float> w(3, 4);
  const ConstView<float> whole = view(w);
  EXPECT_EQ(whole.data(), w.data());
  EXPECT_EQ(whole.rows(), 3);
  EXPECT_EQ(whole.cols(), 4);
  const auto right = w.rightCols(2);
  EXPECT_EQ(view(right).data(), w.data() + 2);
  EXPECT_EQ(view(right).outerStride(), 4);
}

TEST(Matrix, ViewsOfAnArray) {
  float values[6] = {};
  view(values, 2, 3)(1, 0) = 7;
  EXPECT_EQ(values[3], 7);
  EXPECT_EQ(view(static_cast<const float*>(values), 2, 3)(1, 0), 7);
}

}  // namespace
}  // namespace prune
