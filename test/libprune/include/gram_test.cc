#include <prune/gram.h>

#include <cmath>

#include "test/libprune/include/calibration.h"

namespace prune {
namespace {

using testing::refusal;

class Calibration : public ::testing::Test {
 protected:
  std::mt19937 rng_{testing::test_seed()};
};

TEST_F(Calibration, BatchesOfAnySizeAddUpToTheGramMatrix) {
  for (const Index inputs : {1, 33, 70}) {
    const Matrix<float> x = testing::correlated_inputs(61, inputs, rng_);
    Gram gram(inputs);
    ColumnNorms norms(inputs);
    Index done = 0;
    for (const Index size : {0, 1, 7, 32, 21}) {
      gram.add(x.middleRows(done, size));
      norms.add(x.middleRows(done, size));
      done += size;
      if (done > 0) gram.matrix();  // does not disturb what follows
    }
    const Matrix<double> expected = testing::gram_in_double(x);
    const Matrix<float>& sums = gram.matrix();
    EXPECT_EQ(gram.tokens(), x.rows());
    EXPECT_EQ(norms.tokens(), x.rows());
    EXPECT_LT((sums.cast<double>() - expected).norm(), 1e-6 * expected.norm());
    EXPECT_EQ(sums, sums.transpose());
    const Eigen::VectorXd mean_square = expected.diagonal() / double(x.rows());
    EXPECT_LT((norms.mean_square() - mean_square).norm(), 1e-14 * mean_square.norm());
    EXPECT_LT((gram.mean_square() - mean_square).norm(), 1e-6 * mean_square.norm());
  }
}

// Sums of squares in float would stand still here.
TEST_F(Calibration, NormsAreSummedInDouble) {
  ColumnNorms norms(1);
  norms.add(Matrix<float>{{4096.0f}});
  for (int i = 0; i < 100; ++i) norms.add(Matrix<float>{{0.5f}});
  EXPECT_EQ(norms.mean_square()[0], (4096.0 * 4096.0 + 25.0) / 101.0);
}

template <class Accumulator>
void expect_refusals() {
  Accumulator sums(3);
  EXPECT_EQ(refusal(ErrorKind::kInput, "no inputs were added", [&] { sums.mean_square(); }), "");
  Matrix<float> x = Matrix<float>::Ones(2, 3);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "2 columns, expected 3", [&] { sums.add(x.leftCols(2)); }), "");
  sums.add(x);
  x(1, 2) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "NaN at row 1, column 2", [&] { sums.add(x); }), "");
  x(1, 2) = -INFINITY;
  EXPECT_EQ(refusal(ErrorKind::kInput, "infinity at row 1, column 2", [&] { sums.add(x); }), "");
  EXPECT_EQ(sums.tokens(), 2);
  EXPECT_EQ(sums.mean_square(), Eigen::VectorXd::Ones(3));
}

TEST_F(Calibration, RefusesWhatIsNoBatch) {
  expect_refusals<Gram>();
  expect_refusals<ColumnNorms>();
  EXPECT_EQ(refusal(ErrorKind::kInput, "no inputs were added", [] { Gram(3).matrix(); }), "");
}

}  // namespace
}  // namespace prune
