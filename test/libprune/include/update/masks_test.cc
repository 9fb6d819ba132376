// The updates that choose masks: admm(), swap(), obs_blocks().
#include <numeric>

#include <Eigen/LU>

#include <prune/update/admm.h>
#include <prune/update/obs_blocks.h>
#include <prune/update/swap.h>

#include "test/libprune/include/update/layers.h"

namespace prune::update {
namespace {

using testing::exact_refit;
using testing::Layer;
using testing::mutable_view;
using testing::random_layer;
using testing::refusal;
using testing::row_error;
using testing::total_error;

const std::vector<std::pair<Pattern, double>>& patterns() {
  static const std::vector<std::pair<Pattern, double>> list = {
      {NM{2, 4}, 0.5}, {NM{4, 8}, 0.5}, {Unstructured{}, 0.7}, {Block{4, 4}, 0.3}};
  return list;
}

// What the mask costs at its exact least squares.
double exact_error(const Layer& layer, const Mask& mask) {
  const Matrix<double> best = exact_refit(layer.weights, testing::rhs_of(layer), layer.gram, mask, 1e-3);
  return total_error(layer, best.cast<float>());
}

// The mask that minimises what pruning each weight alone costs: the start of admm().
Mask plain_mask(const Layer& layer, const Pattern& pattern, double sparsity) {
  const Matrix<float> scores =
      layer.weights.array().square().rowwise() * layer.gram.diagonal().transpose().array();
  return select(scores, pattern, sparsity);
}

class Masks : public ::testing::Test {
 protected:
  std::mt19937 rng_{testing::test_seed()};
};

// ADMM as the textbook writes it, in double, with its three variables.
Mask reference_admm(const Layer& layer, const Pattern& pattern, double sparsity, int steps) {
  const Index in = layer.gram.cols();
  Matrix<double> h = layer.gram.cast<double>();
  const double lambda = 1e-3 * h.diagonal().mean();
  h.diagonal().array() += lambda;
  const Eigen::VectorXd d = h.diagonal().cwiseSqrt();
  h = d.cwiseInverse().asDiagonal() * h * d.cwiseInverse().asDiagonal();
  const Matrix<double> w = layer.weights.cast<double>() * d.asDiagonal();
  Matrix<double> kept = w;
  apply(select(Matrix<double>(w.array().square()), pattern, sparsity), kept);
  Matrix<double> dual = Matrix<double>::Zero(w.rows(), in);
  Mask mask;
  double rho = 0.1;
  for (int step = 0; step < steps; ++step) {
    if (step > 0 && step % 2 == 0) rho *= 1.15;
    const Matrix<double> system = h + rho * Matrix<double>::Identity(in, in);
    const Matrix<double> free = (w * h - dual + rho * kept) * system.inverse();
    kept = free + dual / rho;
    mask = select(Matrix<double>(kept.array().square()), pattern, sparsity);
    apply(mask, kept);
    dual += rho * (free - kept);
  }
  return mask;
}

TEST_F(Masks, AdmmIsTheTextbooksIteration) {
  const auto layer = random_layer(16, 32, rng_);
  for (const auto& [pattern, sparsity] : patterns()) {
    Matrix<float> weights = layer.weights;
    AdmmOptions options;
    options.max_steps = 12;
    const AdmmResult result =
        admm(mutable_view(weights), view(layer.gram), layer.target(), pattern, sparsity, options);
    const Mask reference = reference_admm(layer, pattern, sparsity, result.steps);
    EXPECT_LE(detail::difference(result.mask, reference), 4) << to_string(pattern);  // near ties
    EXPECT_NE(result.mask, plain_mask(layer, pattern, sparsity)) << to_string(pattern);
  }
}

TEST_F(Masks, AdmmKeepsThePatternAndFindsABetterMask) {
  const auto layer = random_layer(64, 64, rng_);
  for (const auto& [pattern, sparsity] : patterns()) {
    Matrix<float> weights = layer.weights;
    const AdmmResult result =
        admm(mutable_view(weights), view(layer.gram), layer.target(), pattern, sparsity);
    const Mask plain = plain_mask(layer, pattern, sparsity);
    EXPECT_TRUE(satisfies(result.mask, pattern)) << to_string(pattern);
    EXPECT_EQ(result.mask.count(), plain.count());
    EXPECT_EQ(nonzero_mask(weights), result.mask);
    const double best = exact_error(layer, result.mask);
    EXPECT_LT(best, 0.95 * exact_error(layer, plain)) << to_string(pattern);
    EXPECT_LT(total_error(layer, weights), 2 * best) << to_string(pattern);
    EXPECT_LT(result.steps, 100) << to_string(pattern);
    // In place over the dense weights, and twice the same.
    Matrix<float> again = layer.weights;
    const LayerTarget own{view(again), std::nullopt, 0};
    EXPECT_EQ(admm(mutable_view(again), view(layer.gram), own, pattern, sparsity).mask, result.mask);
    EXPECT_TRUE(testing::same_bits(again, weights));
  }
}

TEST_F(Masks, AdmmFollowsTheRightHandSide) {
  const auto layer = random_layer(16, 32, rng_);
  Layer other = layer;  // what its outputs should be
  other.weights = testing::normal_matrix(16, 32, rng_);
  const Matrix<float> rhs = testing::rhs_of(other).cast<float>();
  Matrix<float> weights = layer.weights;
  const LayerTarget target{view(layer.weights), view(rhs), testing::output_energy(other)};
  admm(mutable_view(weights), view(layer.gram), target, NM{2, 4}, 0.5);
  EXPECT_LT(total_error(other, weights), 0.3 * total_error(layer, weights));
}

TEST_F(Masks, AdmmPrunesInputsThatAreAlwaysZeroAndWorksOnRankOne) {
  auto layer = random_layer(16, 32, rng_);
  layer.inputs.leftCols(8).setZero();
  layer.gram = testing::gram_of(layer.inputs);
  Matrix<float> weights = layer.weights;
  const AdmmResult result =
      admm(mutable_view(weights), view(layer.gram), layer.target(), Unstructured{}, 0.5);
  for (Index i = 0; i < 16; ++i) EXPECT_EQ(result.mask.count_in_row(i, 0, 8), 0);
  layer.inputs = testing::normal_matrix(1, 32, rng_);
  layer.gram = testing::gram_of(layer.inputs);
  weights = layer.weights;
  const AdmmResult one = admm(mutable_view(weights), view(layer.gram), layer.target(), NM{2, 4}, 0.5);
  EXPECT_TRUE(weights.allFinite());
  EXPECT_TRUE(satisfies(one.mask, NM{2, 4}));
}

TEST_F(Masks, SwapLowersEveryRowAndKeepsThePattern) {
  const auto layer = random_layer(300, 32, rng_);
  for (const auto& [pattern, sparsity] : patterns()) {
    if (std::holds_alternative<Block>(pattern)) continue;
    const Mask start = plain_mask(layer, pattern, sparsity);
    Matrix<float> before = layer.weights;
    refit(mutable_view(before), start, view(layer.gram), layer.target());
    Matrix<float> after = before;
    Mask mask = start;
    const SwapResult result = swap(mutable_view(after), mask, view(layer.gram), layer.target(), pattern);
    EXPECT_TRUE(satisfies(mask, pattern));
    EXPECT_EQ(nonzero_mask(after), mask);
    Index changed = 0;
    for (Index i = 0; i < 300; ++i) {
      ASSERT_EQ(mask.count_in_row(i), start.count_in_row(i)) << i;
      ASSERT_LE(row_error(layer, after, i), row_error(layer, before, i) * (1 + 1e-5)) << i;
      changed += !std::ranges::equal(mask.row(i), start.row(i));
    }
    EXPECT_GT(changed, 150) << to_string(pattern);
    EXPECT_GE(result.swaps, changed);
    EXPECT_NEAR(result.error_before * testing::output_energy(layer) / total_error(layer, before), 1, 1e-3);
    EXPECT_NEAR(result.error_after * testing::output_energy(layer) / total_error(layer, after), 1, 1e-3);
    EXPECT_LT(exact_error(layer, mask), 0.95 * exact_error(layer, start)) << to_string(pattern);
    Matrix<float> again = before;
    Mask same = start;
    swap(mutable_view(again), same, view(layer.gram), layer.target(), pattern);
    EXPECT_EQ(same, mask);
    EXPECT_TRUE(testing::same_bits(again, after));
  }
}

TEST_F(Masks, SwapKnowsWhatPruningCosts) {
  const auto layer = random_layer(4, 20, rng_);
  Matrix<double> h = layer.gram.cast<double>();
  h.diagonal().array() += 1e-3 * h.diagonal().mean();
  const detail::SwapValues values(view(layer.gram), 1e-3);
  const Matrix<double> inverse = h.inverse();
  for (Index j = 0; j < 20; ++j) EXPECT_NEAR(double(values.cost[j]) * inverse(j, j), 1, 1e-3);
}

TEST_F(Masks, SwapFollowsTheRightHandSide) {
  const auto layer = random_layer(16, 32, rng_);
  Layer other = layer;
  other.weights = testing::normal_matrix(16, 32, rng_);
  const Matrix<float> rhs = testing::rhs_of(other).cast<float>();
  const LayerTarget target{view(layer.weights), view(rhs), testing::output_energy(other)};
  Mask mask = plain_mask(layer, NM{2, 4}, 0.5);
  Matrix<float> weights = layer.weights;
  refit(mutable_view(weights), mask, view(layer.gram), target);
  const double before = total_error(other, weights);
  swap(mutable_view(weights), mask, view(layer.gram), target, NM{2, 4});
  EXPECT_LT(total_error(other, weights), 0.9 * before);
}

TEST_F(Masks, SwapSurvivesDeadInputsPrunedRowsAndFullMasks) {
  auto layer = random_layer(6, 16, rng_);
  layer.inputs.leftCols(4).setZero();
  layer.gram = testing::gram_of(layer.inputs);
  Mask mask = plain_mask(layer, NM{2, 4}, 0.5);
  for (Index j = 0; j < 16; ++j) {
    mask.set(1, j, false);
    mask.set(2, j, true);
  }
  Matrix<float> weights = layer.weights;
  const SwapResult result =
      swap(mutable_view(weights), mask, view(layer.gram), layer.target(), Unstructured{});
  EXPECT_TRUE(weights.allFinite());
  EXPECT_LE(result.error_after, result.error_before);
  EXPECT_EQ(mask.count_in_row(1), 0);
  EXPECT_EQ(mask.count_in_row(2), 16);
  EXPECT_EQ(mask.count_in_row(0, 0, 4), 0);  // its weights do better elsewhere
  EXPECT_EQ(mask.count_in_row(0), 8);
}

// What obs_blocks() promises, with an inverse of its own for every set of columns.
Mask reference_obs_blocks(const Layer& layer, Block block, double sparsity) {
  Matrix<double> h = layer.gram.cast<double>();
  h.diagonal().array() += 1e-3 * h.diagonal().mean();
  const Index bands = layer.weights.rows() / block.rows;
  const Index columns = layer.weights.cols() / block.cols;
  BlockScores losses{block, Matrix<double>(bands, columns)};
  for (Index band = 0; band < bands; ++band) {
    Matrix<double> w = layer.weights.middleRows(band * block.rows, block.rows).cast<double>();
    std::vector<Index> left(static_cast<size_t>(columns));
    std::iota(left.begin(), left.end(), Index(0));
    double most = 0;
    while (!left.empty()) {
      std::vector<Index> weights_left;
      for (const Index b : left) {
        for (Index c = 0; c < block.cols; ++c) weights_left.push_back(b * block.cols + c);
      }
      const Eigen::MatrixXd inverse = Eigen::MatrixXd(h(weights_left, weights_left)).inverse();
      double least = INFINITY;
      size_t at = 0;
      for (size_t b = 0; b < left.size(); ++b) {
        const Index from = Index(b) * block.cols;
        const Eigen::MatrixXd part = w(Eigen::all, weights_left).middleCols(from, block.cols);
        const Eigen::MatrixXd small = inverse.block(from, from, block.cols, block.cols).inverse();
        const double loss = (part * small * part.transpose()).trace();
        if (loss < least) {
          least = loss;
          at = b;
        }
      }
      const Index from = Index(at) * block.cols;
      const Eigen::MatrixXd now = w(Eigen::all, weights_left);
      w(Eigen::all, weights_left) = now - now.middleCols(from, block.cols) *
                                              inverse.block(from, from, block.cols, block.cols).inverse() *
                                              inverse.middleRows(from, block.cols);
      most = std::max(most * (1 + 1e-12), least);
      losses.values(band, left[at]) = most;
      left.erase(left.begin() + std::ptrdiff_t(at));
    }
  }
  return select(losses, sparsity);
}

TEST_F(Masks, ObsBlocksRemovesWhatTheRestMakesUpFor) {
  const auto layer = random_layer(32, 40, rng_);
  for (const Block block : {Block{8, 4}, Block{4, 8}, Block{16, 10}, Block{1, 1}}) {
    for (const double sparsity : {0.0, 0.3, 0.7}) {
      const Mask mask = obs_blocks(view(layer.gram), layer.target(), block, sparsity);
      ASSERT_TRUE(satisfies(mask, block));
      ASSERT_EQ(mask, reference_obs_blocks(layer, block, sparsity)) << to_string(block) << ' ' << sparsity;
    }
  }
}

TEST_F(Masks, ObsBlocksBeatsScoresOfSingleBlocks) {
  const auto layer = random_layer(64, 64, rng_);
  const Mask mask = obs_blocks(view(layer.gram), layer.target(), Block{4, 4}, 0.5);
  EXPECT_LT(exact_error(layer, mask), 0.9 * exact_error(layer, plain_mask(layer, Block{4, 4}, 0.5)));
}

TEST_F(Masks, ObsBlocksPrunesInputsThatAreAlwaysZeroAndFollowsTheRightHandSide) {
  auto layer = random_layer(16, 32, rng_);
  layer.inputs.middleCols(8, 8).setZero();
  layer.gram = testing::gram_of(layer.inputs);
  const Mask mask = obs_blocks(view(layer.gram), layer.target(), Block{8, 8}, 0.25);
  for (Index i = 0; i < 16; ++i) EXPECT_EQ(mask.count_in_row(i, 8, 16), 0);

  Layer other = random_layer(16, 32, rng_);
  const Mask wanted = obs_blocks(view(other.gram), other.target(), Block{8, 4}, 0.5);
  const Matrix<float> rhs = testing::rhs_of(other).cast<float>();
  const LayerTarget target{view(layer.weights), view(rhs), testing::output_energy(other)};
  EXPECT_EQ(obs_blocks(view(other.gram), target, Block{8, 4}, 0.5), wanted);
}

TEST_F(Masks, SayWhatIsWrong) {
  auto layer = random_layer(8, 16, rng_);
  Matrix<float> w = layer.weights;
  Mask mask = plain_mask(layer, NM{2, 4}, 0.5);
  const auto run_swap = [&](const Pattern& p, double damping) {
    swap(mutable_view(w), mask, view(layer.gram), layer.target(), p, {damping, 2});
  };
  const auto run_admm = [&](AdmmOptions options) {
    admm(mutable_view(w), view(layer.gram), layer.target(), NM{2, 4}, 0.5, options);
  };
  EXPECT_EQ(refusal(ErrorKind::kUsage, "got blocks", [&] { run_swap(Block{8, 8}, 1e-3); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "rho > 0", [&] { run_admm({1e-3, 0, 1.1, 9}); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "growth > 1", [&] { run_admm({1e-3, 0.1, 1, 9}); }), "");
  for (const double bad : {double(NAN), double(INFINITY), 1e40, 1e-50}) {
    EXPECT_EQ(refusal(ErrorKind::kUsage, "rho > 0", [&] { run_admm({1e-3, bad, 1.1, 9}); }), "") << bad;
    if (bad < 1) continue;
    EXPECT_EQ(refusal(ErrorKind::kUsage, "growth > 1", [&] { run_admm({1e-3, 0.1, bad, 9}); }), "") << bad;
  }
  EXPECT_EQ(refusal(ErrorKind::kUsage, "damping 1e+40: too much",
                    [&] {
                      run_admm({1e40, 0.1, 1.1, 9});
                    }),
            "");
  w = layer.weights;
  run_admm({1e-3, 0.1, 1e30, 9});  // one rise, and no more
  EXPECT_TRUE(w.allFinite());
  EXPECT_EQ(nonzero_mask(w).count(), 64);
  EXPECT_EQ(refusal(ErrorKind::kInput, "16 columns", [&] { run_swap(NM{2, 5}, 1e-3); }), "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "8 rows",
                    [&] {
                      obs_blocks(view(layer.gram), layer.target(), Block{16, 16}, 0.5);
                    }),
            "");
  layer.gram = -layer.gram;  // no Gram matrix
  layer.gram.diagonal().setConstant(1);
  EXPECT_EQ(refusal(ErrorKind::kInput, "not positive definite", [&] { run_swap(NM{2, 4}, 0); }), "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "not positive definite", [&] { run_admm({0, 0.1, 1.1, 9}); }), "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "not positive definite",
                    [&] {
                      obs_blocks(view(layer.gram), layer.target(), Block{8, 8}, 0.5, 0);
                    }),
            "");
  layer.gram(3, 4) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "gram: NaN", [&] { run_swap(NM{2, 4}, 1e-3); }), "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "gram: NaN", [&] { run_admm({}); }), "");
}

}  // namespace
}  // namespace prune::update
