#include <prune/update/sparsegpt.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "test/libprune/include/calibration.h"

namespace prune {
namespace {

using testing::refusal;
using update::sparsegpt;
using update::SparsegptOptions;
using update::SparsegptResult;

struct Layer {
  Matrix<float> weights;  // [out, in]
  Matrix<float> gram;
};

Layer correlated_layer(Index out, Index in, std::mt19937& rng, Index tokens = 0) {
  Gram gram(in);
  gram.add(testing::correlated_inputs(tokens == 0 ? 2 * in : tokens, in, rng));
  return {testing::normal_matrix(out, in, rng), gram.matrix()};
}

Matrix<double> damped(const Matrix<float>& gram, double damping) {
  Matrix<double> h = gram.cast<double>();
  const double mean = h.diagonal().mean();
  for (Index j = 0; j < h.rows(); ++j) h(j, j) = h(j, j) == 0 ? 1 : h(j, j) + damping * mean;
  return h;
}

// The algorithm as the paper has it, in double, slowly. It takes each decision from `mask`, and where
// a pattern is given checks that of the candidates that competed none was kept that is clearly cheaper than
// one that went.
class PaperAlgorithm {
 public:
  PaperAlgorithm(const Layer& layer, const Mask& mask, const Pattern* pattern, Index block)
      : w_(layer.weights.cast<double>()), mask_(mask) {
    const Matrix<double> h = damped(layer.gram, 0.01);
    const Matrix<double> inverse = h.llt().solve(Matrix<double>::Identity(h.rows(), h.rows()));
    u_ = inverse.llt().matrixU();
    const NM* nm = pattern ? std::get_if<NM>(pattern) : nullptr;
    const Block* tile = pattern ? std::get_if<Block>(pattern) : nullptr;
    const Index unit = tile ? tile->cols : 1;
    const Index step = nm ? nm->group : (block + unit - 1) / unit * unit;
    for (Index j = 0; j < w_.cols(); ++j) {
      if (layer.gram(j, j) == 0) w_.col(j).setZero();
    }
    for (Index j = 0; j < w_.cols(); ++j) {
      const Index width = std::min(step, w_.cols() - j);
      if (pattern && j % step == 0) {
        for (Index i = 0; nm && i < w_.rows(); ++i) compete(i, 1, 1, j, width, 1);
        if (!nm) compete(0, w_.rows(), tile ? tile->rows : 1, j, width, tile ? tile->cols : 1);
      }
      prune_column(j);
    }
  }

  const Matrix<double>& weights() const { return w_; }
  double loss() const { return loss_; }

 private:
  // Tiles of height x width weights in rows [top, top + rows) and columns [left, left + cols).
  void compete(Index top, Index rows, Index height, Index left, Index cols, Index width) {
    double dearest_gone = 0;
    double cheapest_kept = std::numeric_limits<double>::infinity();
    for (Index i = top; i < top + rows; i += height) {
      for (Index j = left; j < left + cols; j += width) {
        double cost = 0;
        for (Index r = i; r < i + height; ++r) {
          for (Index c = j; c < j + width; ++c) cost += w_(r, c) * w_(r, c) / (u_(c, c) * u_(c, c));
        }
        if (mask_(i, j)) {
          cheapest_kept = std::min(cheapest_kept, cost);
        } else {
          dearest_gone = std::max(dearest_gone, cost);
        }
      }
    }
    EXPECT_LE(dearest_gone, cheapest_kept * 1.001) << "columns " << left << " to " << left + cols;
  }

  void prune_column(Index j) {
    for (Index i = 0; i < w_.rows(); ++i) {
      if (mask_(i, j)) continue;
      const double error = w_(i, j) / u_(j, j);
      loss_ += error * error / 2;
      w_.row(i).tail(w_.cols() - j) -= error * u_.row(j).tail(w_.cols() - j);
      w_(i, j) = 0;
    }
  }

  Matrix<double> w_;
  Mask mask_;
  Matrix<double> u_;
  double loss_ = 0;
};

::testing::AssertionResult agree(const Matrix<float>& w, const Matrix<float>& before, const Mask& mask) {
  for (Index i = 0; i < w.rows(); ++i) {
    for (Index j = 0; j < w.cols(); ++j) {
      if (mask(i, j) || testing::bits_of(w(i, j)) == 0) continue;
      return ::testing::AssertionFailure() << "pruned, but not +0: row " << i << ", column " << j << ": "
                                           << w(i, j) << " was " << before(i, j);
    }
  }
  return ::testing::AssertionSuccess();
}

// 1/2 tr((W' - W) H (W' - W)^T).
double damped_error(const Matrix<float>& w, const Layer& layer) {
  const Matrix<double> d = w.cast<double>() - layer.weights.cast<double>();
  return (d * damped(layer.gram, 0.01)).cwiseProduct(d).sum() / 2;
}

class Sparsegpt : public ::testing::Test {
 protected:
  void expect_paper(const Layer& layer, const Pattern& pattern, double sparsity, Index block = 128) {
    SCOPED_TRACE(to_string(pattern) + " on " + std::to_string(layer.weights.rows()) + " x " +
                 std::to_string(layer.weights.cols()) + ", block " + std::to_string(block));
    Matrix<float> w = layer.weights;
    SparsegptOptions options;
    options.block = block;
    const SparsegptResult result = sparsegpt(w, view(layer.gram), pattern, sparsity, options);
    EXPECT_TRUE(satisfies(result.mask, pattern));
    EXPECT_TRUE(agree(w, layer.weights, result.mask));
    const PaperAlgorithm paper(layer, result.mask, &pattern, block);
    EXPECT_LT((w.cast<double>() - paper.weights()).norm(), 2e-5 * paper.weights().norm());
    EXPECT_NEAR(result.loss, paper.loss(), 1e-4 * paper.loss());
    EXPECT_EQ(result.damping, 0.01);
    EXPECT_EQ(result.retries, 0);
    const Block* tile = std::get_if<Block>(&pattern);
    const Index size = tile ? Index(tile->rows) * tile->cols : 1;
    const Index all = w.size() / size;
    if (!std::get_if<NM>(&pattern)) {
      EXPECT_EQ(result.mask.count(), size * (all - Index(std::floor(double(all) * sparsity))));
    } else {
      EXPECT_EQ(result.mask.count(), Index(std::lround(double(all) * (1 - sparsity))));
    }
  }
  Mask random_mask(Index rows, Index cols) {
    Mask mask(rows, cols);
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < cols; ++j) mask.set(i, j, rng_() % 2 == 0);
    }
    return mask;
  }
  std::mt19937 rng_{testing::test_seed()};
};

TEST_F(Sparsegpt, IsTheAlgorithmOfThePaper) {
  const Layer ragged = correlated_layer(150, 130, rng_);  // more rows than a tile, more columns than a block
  expect_paper(ragged, Unstructured{}, 0.5);
  expect_paper(ragged, Unstructured{}, 0.7, 50);
  expect_paper(ragged, Unstructured{}, 0.0);
  expect_paper(ragged, NM{3, 5}, 0.4);
  expect_paper(ragged, NM{1, 2}, 0.5);
  expect_paper(ragged, Block{6, 13}, 0.3);
  expect_paper(ragged, Block{150, 1}, 0.5, 40);
  const Layer even = correlated_layer(32, 264, rng_);
  expect_paper(even, NM{2, 4}, 0.5);
  expect_paper(even, NM{4, 8}, 0.5);
  expect_paper(even, NM{1, 4}, 0.75);
  expect_paper(even, NM{7, 24}, 1.0 - 7.0 / 24);
  expect_paper(correlated_layer(48, 320, rng_), Block{16, 16}, 0.3);
  expect_paper(correlated_layer(48, 320, rng_), Block{16, 16}, 0.5, 64);
  expect_paper(correlated_layer(3, 64, rng_), NM{30, 32}, 1.0 - 30.0 / 32);
  expect_paper(correlated_layer(1, 1, rng_), Unstructured{}, 0.5);
}

TEST_F(Sparsegpt, CountsAreExactWhateverTheBlock) {
  const Layer layer = correlated_layer(7, 131, rng_);
  for (const Index block : {1, 3, 64, 100, 200}) {
    for (const double sparsity : {0.0, 0.01, 1.0 / 3, 0.5, 0.7, 0.999}) {
      Matrix<float> w = layer.weights;
      SparsegptOptions options;
      options.block = block;
      const Mask mask = sparsegpt(w, layer.gram, Unstructured{}, sparsity, options).mask;
      ASSERT_EQ(mask.count(), w.size() - Index(std::floor(double(w.size()) * sparsity)));
    }
  }
}

TEST_F(Sparsegpt, LossIsTheDampedErrorOfTheLayer) {
  const Layer layer = correlated_layer(40, 200, rng_);
  for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{4, 8})}) {
    Matrix<float> w = layer.weights;
    const SparsegptResult result = sparsegpt(w, layer.gram, pattern, 0.5);
    const double error = damped_error(w, layer);
    EXPECT_NEAR(result.loss, error, 1e-4 * error);
    Matrix<float> masked = layer.weights;
    apply(result.mask, masked);
    EXPECT_LT(error, 0.7 * damped_error(masked, layer));
  }
}

TEST_F(Sparsegpt, AGivenMaskIsKeptAndTheBlockDoesNotMatter) {
  const Layer layer = correlated_layer(30, 300, rng_);
  const Mask mask = random_mask(30, 300);
  const PaperAlgorithm paper(layer, mask, nullptr, 1000);
  for (const Index block : {1, 16, 37, 128, 1000}) {
    Matrix<float> w = layer.weights;
    SparsegptOptions options;
    options.block = block;
    const SparsegptResult result = sparsegpt(w, layer.gram, mask, options);
    EXPECT_EQ(result.mask, mask);
    EXPECT_TRUE(agree(w, layer.weights, mask));
    EXPECT_LT((w.cast<double>() - paper.weights()).norm(), 2e-5 * paper.weights().norm());
    EXPECT_NEAR(result.loss, paper.loss(), 1e-4 * paper.loss());
  }
}

TEST_F(Sparsegpt, ChoosingAndThenGivingTheSameMaskIsTheSame) {
  const Layer layer = correlated_layer(30, 260, rng_);
  Matrix<float> chosen = layer.weights;
  Matrix<float> given = layer.weights;
  const SparsegptResult result = sparsegpt(chosen, layer.gram, Unstructured{}, 0.5);
  sparsegpt(given, layer.gram, result.mask);
  EXPECT_TRUE(testing::same_bits(chosen, given));
}

TEST_F(Sparsegpt, WeightsOfDeadInputsGoAndDisturbNothing) {
  Layer layer = correlated_layer(20, 140, rng_);
  for (const Index dead : {0, 5, 139}) {
    layer.gram.row(dead).setZero();
    layer.gram.col(dead).setZero();
  }
  expect_paper(layer, Unstructured{}, 0.5);
  Matrix<float> w = layer.weights;
  const Mask mask = sparsegpt(w, layer.gram, Unstructured{}, 0.5).mask;
  for (const Index dead : {0, 5, 139}) {
    EXPECT_TRUE((w.col(dead).array() == 0).all());
    for (Index i = 0; i < 20; ++i) EXPECT_FALSE(mask(i, dead));
  }
}

TEST_F(Sparsegpt, TakesAGramMatrixOfRankOneAndOneOfNothing) {
  expect_paper(correlated_layer(10, 140, rng_, 1), NM{2, 4}, 0.5);
  expect_paper(correlated_layer(10, 140, rng_, 1), Unstructured{}, 0.5);
  Layer layer = correlated_layer(4, 8, rng_);
  layer.gram.setZero();
  const SparsegptResult result = sparsegpt(layer.weights, layer.gram, NM{2, 4}, 0.5);
  EXPECT_EQ(layer.weights, Matrix<float>::Zero(4, 8));
  EXPECT_EQ(result.mask.count(), 16);
  EXPECT_EQ(result.loss, 0);
}

TEST_F(Sparsegpt, SaysWhichDampingItNeeded) {
  Layer layer{Matrix<float>{{3, 1}}, Matrix<float>{{1, 3}, {3, 1}}};
  const SparsegptResult result = sparsegpt(layer.weights, layer.gram, NM{1, 2}, 0.5);
  EXPECT_EQ(result.retries, 3);
  EXPECT_DOUBLE_EQ(result.damping, 10.0);
}

// Zeros are where they were, more in some blocks of columns than there is to prune.
TEST_F(Sparsegpt, KeepsZerosAndCountsThem) {
  Layer layer = correlated_layer(16, 144, rng_);
  layer.weights.middleCols(60, 40).setZero();
  layer.weights.row(3).setConstant(-0.0f);
  layer.weights.col(120).head(9).setZero();
  const Mask nonzero = nonzero_mask(layer.weights);
  SparsegptOptions options;
  options.keep_zeros = true;
  options.block = 32;
  for (const Pattern& pattern :
       {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(NM{4, 8}), Pattern(Block{2, 4})}) {
    SCOPED_TRACE(to_string(pattern));
    Matrix<float> w = layer.weights;
    const SparsegptResult result = sparsegpt(w, layer.gram, pattern, 0.5, options);
    EXPECT_TRUE(satisfies(result.mask, pattern));
    EXPECT_TRUE(agree(w, layer.weights, result.mask));
    for (Index i = 0; i < w.size(); ++i) {
      if (layer.weights.data()[i] == 0) {
        ASSERT_EQ(testing::bits_of(w.data()[i]), 0u);
      }
    }
    if (!std::get_if<NM>(&pattern)) {
      ASSERT_EQ(result.mask.count(), w.size() / 2);
    }
    EXPECT_NEAR(result.loss, damped_error(w, layer), 1e-4 * result.loss);
  }
  Matrix<float> w = layer.weights;
  EXPECT_EQ(sparsegpt(w, layer.gram, Unstructured{}, 0.1, options).mask, nonzero);  // too many zeros already
  Mask all(16, 144);
  for (Index i = 0; i < 16; ++i) {
    for (Index j = 0; j < 144; ++j) all.set(i, j, true);
  }
  w = layer.weights;
  EXPECT_EQ(sparsegpt(w, layer.gram, all, options).loss, 0);
  EXPECT_EQ(w, layer.weights);
  options.keep_zeros = false;
  sparsegpt(w, layer.gram, Unstructured{}, 0.5, options);
  EXPECT_FALSE((w.middleCols(60, 40).array() == 0).all());  // else the test above shows nothing
}

TEST_F(Sparsegpt, WorksOnPartOfALargerMatrix) {
  const Layer layer = correlated_layer(10, 36, rng_);
  Matrix<float> alone = layer.weights;
  Matrix<float> large = Matrix<float>::Constant(14, 50, 7.0f);
  Matrix<float> large_gram = Matrix<float>::Constant(40, 60, NAN);
  large.block(2, 5, 10, 36) = layer.weights;
  large_gram.block(1, 2, 36, 36) = layer.gram;
  const auto expected = sparsegpt(alone, layer.gram, NM{2, 4}, 0.5);
  const auto result = sparsegpt(large.block(2, 5, 10, 36), large_gram.block(1, 2, 36, 36), NM{2, 4}, 0.5);
  EXPECT_EQ(result.mask, expected.mask);
  EXPECT_EQ(large.block(2, 5, 10, 36), alone);
  large.block(2, 5, 10, 36).setConstant(7.0f);
  EXPECT_EQ(large, Matrix<float>::Constant(14, 50, 7.0f));
}

TEST_F(Sparsegpt, RefusesBeforeItChangesAnything) {
  Layer layer = correlated_layer(4, 12, rng_);
  const auto run = [&](const Pattern& pattern, SparsegptOptions options = {}) {
    return [&, pattern, options] { sparsegpt(layer.weights, layer.gram, pattern, 0.5, options); };
  };
  EXPECT_EQ(refusal(ErrorKind::kInput, "12 columns are not a multiple of 8", run(NM{4, 8})), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "means sparsity 0.75", run(NM{1, 4})), "");
  SparsegptOptions options;
  options.block = 0;
  EXPECT_EQ(refusal(ErrorKind::kUsage, "block 0", run(NM{2, 4}, options)), "");
  options = {};
  options.damping = 0;
  EXPECT_EQ(refusal(ErrorKind::kUsage, "damping 0", run(NM{2, 4}, options)), "");
  EXPECT_EQ(
      refusal(ErrorKind::kUsage, "same shape", [&] { sparsegpt(layer.weights, layer.gram, Mask(4, 11)); }),
      "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "expected 12 x 12, got 11 x 11",
                    [&] {
                      sparsegpt(layer.weights, layer.gram.topLeftCorner(11, 11), NM{2, 4}, 0.5);
                    }),
            "");
  const Matrix<float> before = layer.weights;
  layer.gram(0, 0) = 0;  // its weights would be cleared
  layer.gram(2, 3) = INFINITY;
  EXPECT_EQ(refusal(ErrorKind::kInput, "gram: infinity at row 2, column 3", run(NM{2, 4})), "");
  layer.gram(2, 3) = 1e18f;
  EXPECT_EQ(refusal(ErrorKind::kInput, "not positive definite", run(NM{2, 4})), "");
  EXPECT_EQ(layer.weights, before);
  layer.weights(1, 7) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "weights: NaN at row 1, column 7", run(Unstructured{})), "");
}

TEST_F(Sparsegpt, ZerosMakeNoBlockCheaper) {
  Matrix<float> weights(1, 4);
  weights << 0, 0.5f, 0.1f, 0.1f;
  const Matrix<float> gram = Matrix<float>::Identity(4, 4);
  const SparsegptOptions options{.keep_zeros = true};
  const Mask mask = sparsegpt(weights, gram, Block{1, 2}, 0.5, options).mask;
  EXPECT_TRUE(mask(0, 1));
  EXPECT_FALSE(mask(0, 2));
}

TEST_F(Sparsegpt, TiesGoToTheLowerRowAndThenTheLowerColumn) {
  Matrix<float> weights = Matrix<float>::Ones(130, 4);
  const Matrix<float> gram = Matrix<float>::Identity(4, 4);
  const Mask mask = sparsegpt(weights, gram, Unstructured{}, 0.625).mask;
  Mask first(130, 4);
  for (Index k = 0; k < 195; ++k) first.set(k / 4, k % 4, true);
  EXPECT_EQ(mask, first);
}

TEST_F(Sparsegpt, SaysWhenFloatIsTooSmall) {
  Layer layer = correlated_layer(4, 12, rng_);
  layer.weights *= 1e25f;
  for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{2, 2})}) {
    Matrix<float> w = layer.weights;
    EXPECT_EQ(refusal(ErrorKind::kInput, "left the range of float",
                      [&] { sparsegpt(w, layer.gram, pattern, 0.5); }),
              "");
  }
}

// --- rounding in the same sweep

// The steps of each row's groups: largest magnitude / 127.
Matrix<float> steps_of(const Matrix<float>& weights, Index group) {
  Matrix<float> steps(weights.rows(), (weights.cols() + group - 1) / group);
  for (Index i = 0; i < steps.rows(); ++i) {
    for (Index g = 0; g < steps.cols(); ++g) {
      const Index first = g * group, count = std::min(group, weights.cols() - first);
      steps(i, g) = weights.row(i).segment(first, count).cwiseAbs().maxCoeff() / 127;
    }
  }
  return steps;
}

// GPTQ as the paper has it, in double: column j is rounded, and the later ones of its row take up
// (w_j - q_j) / U_jj times row j of U, the upper factor of H^-1.
Matrix<double> gptq(const Layer& layer, const Mask& mask, const Matrix<float>& steps, Index group) {
  const Matrix<double> h = damped(layer.gram, 0.01);
  const Matrix<double> inverse = h.llt().solve(Matrix<double>::Identity(h.rows(), h.rows()));
  const Matrix<double> u = inverse.llt().matrixU();
  Matrix<double> w = layer.weights.cast<double>();
  for (Index j = 0; j < w.cols(); ++j) {
    for (Index i = 0; i < w.rows(); ++i) {
      const double step = steps(i, j / group);
      const double to = mask(i, j) ? step * std::clamp(std::nearbyint(w(i, j) / step), -127.0, 127.0) : 0;
      const double error = (w(i, j) - to) / u(j, j);
      for (Index k = j + 1; k < w.cols(); ++k) w(i, k) -= error * u(j, k);
      w(i, j) = to;
    }
  }
  return w;
}

double output_error(const Layer& layer, const Matrix<double>& w) {
  const Matrix<double> change = w - layer.weights.cast<double>();
  return (change * layer.gram.cast<double>() * change.transpose()).trace();
}

TEST(SparsegptRounding, IsGptqUnderTheMask) {
  std::mt19937 rng(testing::test_seed());
  const Index group = 32;
  const Layer layer = correlated_layer(9, 80, rng);
  for (const Pattern& pattern : {Pattern(NM{2, 4}), Pattern(Unstructured{})}) {
    const Mask mask = select_magnitude(layer.weights, pattern, 0.5);
    Layer pruned = layer;
    apply(mask, pruned.weights);
    const Matrix<float> steps = steps_of(pruned.weights, group);
    SparsegptOptions options;
    options.rounding = {steps.data(), steps.cols(), group};
    Matrix<float> w = pruned.weights, nearest = pruned.weights;
    sparsegpt(w, pruned.gram, mask, options);
    const Matrix<double> expected = gptq(pruned, mask, steps, group);
    int64_t other = 0;
    for (Index i = 0; i < w.rows(); ++i) {
      for (Index j = 0; j < w.cols(); ++j) {
        const float step = steps(i, j / group);
        EXPECT_EQ(w(i, j), step * std::nearbyint(w(i, j) / step));
        EXPECT_TRUE(mask(i, j) || w(i, j) == 0);
        // A weight between two steps may fall to either; what follows then differs.
        other += std::abs(w(i, j) - expected(i, j)) > 0.01 * step;
        nearest(i, j) = step == 0 ? 0 : step * std::nearbyint(nearest(i, j) / step);
      }
    }
    EXPECT_LE(other, w.size() / 50);
    EXPECT_LT(output_error(pruned, w.cast<double>()), 0.8 * output_error(pruned, nearest.cast<double>()));
  }
}

// Choosing, making up for what goes and rounding in one sweep loses less than rounding its result.
TEST(SparsegptRounding, JointlyWithTheMask) {
  std::mt19937 rng(testing::test_seed());
  const Layer layer = correlated_layer(24, 96, rng);
  Matrix<float> steps = steps_of(layer.weights, 96) * 8;  // coarse, so that rounding counts
  SparsegptOptions options;
  Matrix<float> joint = layer.weights, later = layer.weights;
  sparsegpt(later, layer.gram, NM{2, 4}, 0.5, options);
  for (Index i = 0; i < later.rows(); ++i) {
    for (Index j = 0; j < later.cols(); ++j)
      later(i, j) = steps(i, 0) * std::nearbyint(later(i, j) / steps(i, 0));
  }
  options.rounding = {steps.data()};
  const SparsegptResult result = sparsegpt(joint, layer.gram, NM{2, 4}, 0.5, options);
  EXPECT_TRUE(satisfies(nonzero_mask(joint), NM{2, 4}));
  const double error = output_error(layer, joint.cast<double>());
  EXPECT_LT(error, 0.9 * output_error(layer, later.cast<double>()));
  // The loss is that of the damped problem: 1/2 tr(D H D^T).
  const Matrix<double> change = joint.cast<double>() - layer.weights.cast<double>();
  const double loss = (change * damped(layer.gram, 0.01) * change.transpose()).trace() / 2;
  EXPECT_NEAR(result.loss, loss, 1e-3 * loss);
}

TEST(SparsegptRounding, StepsOfAnotherShapeAreRefused) {
  std::mt19937 rng(testing::test_seed());
  Layer layer = correlated_layer(4, 40, rng);
  const Matrix<float> steps = Matrix<float>::Ones(4, 1);
  SparsegptOptions options;
  options.rounding = {steps.data(), 1, 32};
  EXPECT_EQ(refusal(ErrorKind::kUsage, "the steps of rounding do not fit",
                    [&] {
                      sparsegpt(layer.weights, layer.gram, NM{2, 4}, 0.5, options);
                    }),
            "");
}

}  // namespace
}  // namespace prune
