#include "libprune/model/calibrated/layer_method.h"

#include <prune/gram.h>
#include <prune/layer_error.h>

#include "libprune/model/quantized_values.h"
#include "test/libprune/include/calibration.h"

namespace prune {
namespace {

struct Layer {
  Matrix<float> weights;
  Matrix<float> gram;

  LayerTask task(const LayerMethod& method, const Pattern& pattern, double sparsity) const {
    LayerTask task{.dense = view(weights), .gram = view(gram)};
    task.pattern = pattern;
    task.sparsity = sparsity;
    task.damping = method.damping;
    return task;
  }
  double error(const Matrix<float>& pruned) const {
    return layer_error(view(pruned), view(weights), view(gram));
  }
};

Layer random_layer(Index out, Index in) {
  std::mt19937 rng(7);
  Layer layer{testing::normal_matrix(out, in, rng), {}};
  layer.gram = testing::gram_in_double(testing::correlated_inputs(4 * in, in, rng)).cast<float>();
  return layer;
}

struct Case {
  Pattern pattern;
  double sparsity;
};
const Case kCases[] = {{NM{2, 4}, 0.5}, {NM{1, 8}, 0.875}, {Unstructured{}, 0.6}, {Block{4, 8}, 0.3}};

// floor(n sparsity) of n candidates: of a row, or of the layer.
int64_t wanted_zeros(const LayerMethod& method, const Case& c, const Mask& mask) {
  if (const Block* block = std::get_if<Block>(&c.pattern)) {
    const int64_t area = int64_t(block->rows) * block->cols;
    return int64_t(double(mask.size() / area) * c.sparsity) * area;
  }
  if (method.scope == Scope::kRow) return mask.rows() * int64_t(double(mask.cols()) * c.sparsity);
  return int64_t(double(mask.size()) * c.sparsity);
}

bool takes(const LayerMethod& method, const Pattern& pattern) {
  return method.takes_blocks || !std::holds_alternative<Block>(pattern);
}

TEST(LayerMethod, PrunesExactlyWhatThePatternAsksFor) {
  const Layer layer = random_layer(32, 40);
  for (const LayerMethod& method : layer_methods()) {
    for (const Case& c : kCases) {
      if (!takes(method, c.pattern)) continue;
      SCOPED_TRACE(std::string(method.name) + " " + to_string(c.pattern));
      const LayerResult result = method.run(layer.task(method, c.pattern, c.sparsity));
      EXPECT_TRUE(satisfies(result.mask, c.pattern));
      EXPECT_EQ(result.mask.size() - result.mask.count(), wanted_zeros(method, c, result.mask));
      EXPECT_EQ(nonzero_mask(result.weights), result.mask);
      EXPECT_EQ(result.damping, method.damping);
      EXPECT_EQ(result.retries, 0);
    }
  }
}

// Better methods leave less error; by how much on this layer is what the margins say.
TEST(LayerMethod, ErrorsFallInTheOrderOfEffort) {
  const Layer layer = random_layer(32, 40);
  for (const Case& c : kCases) {
    SCOPED_TRACE(to_string(c.pattern));
    const auto error = [&](const char* name) {
      const LayerMethod& method = *find_layer_method(name);
      return layer.error(method.run(layer.task(method, c.pattern, c.sparsity)).weights);
    };
    const double wanda = error("wanda");
    const double refit = error("refit");
    EXPECT_LT(error("sparsegpt"), wanda);
    EXPECT_LT(refit, 0.9 * wanda);
    EXPECT_LT(error("admm"), 0.95 * refit);
    if (takes(*find_layer_method("swap"), c.pattern)) {
      EXPECT_LT(error("swap"), 0.95 * refit);
    }
  }
}

TEST(LayerMethod, UnchangedWeightsOfTheScoringMethods) {
  const Layer layer = random_layer(16, 24);
  for (const char* name : {"wanda", "ria"}) {
    const LayerMethod& method = *find_layer_method(name);
    const LayerResult result = method.run(layer.task(method, NM{2, 4}, 0.5));
    Matrix<float> masked = layer.weights;
    apply(result.mask, masked);
    EXPECT_EQ(result.weights, masked) << name;
  }
}

TEST(LayerMethod, KeptZerosStayAndCount) {
  const Layer dense = random_layer(32, 40);
  for (const LayerMethod& method : layer_methods()) {
    for (const Case& c : kCases) {
      if (!takes(method, c.pattern)) continue;
      SCOPED_TRACE(std::string(method.name) + " " + to_string(c.pattern));
      const bool blocks = std::holds_alternative<Block>(c.pattern);
      Layer layer = dense;
      for (Index i = 0; i < 32; ++i) {
        // One block, or two of every eight weights.
        for (Index j = 0; j < 40; ++j) {
          if (blocks ? i < 4 && j < 8 : (i + j) % 8 < 2) layer.weights(i, j) = 0;
        }
      }
      LayerTask task = layer.task(method, c.pattern, c.sparsity);
      task.keep_zeros = true;
      const LayerResult result = method.run(task);
      EXPECT_EQ((result.weights.array() != 0 && layer.weights.array() == 0).count(), 0);
      EXPECT_EQ(nonzero_mask(result.weights), result.mask);
      EXPECT_EQ(result.mask.size() - result.mask.count(), wanted_zeros(method, c, result.mask));
    }
  }
}

// With the outputs of twice the weights wanted, twice the weights are the answer.
TEST(LayerMethod, ARightHandSideIsFollowed) {
  const Layer layer = random_layer(16, 24);
  const Matrix<float> rhs = 2 * layer.weights * layer.gram;
  for (const LayerMethod& method : layer_methods()) {
    if (!method.follows_dense) continue;
    LayerTask task = layer.task(method, NM{2, 4}, 0.5);
    const Matrix<float> once = method.run(task).weights;
    task.rhs.emplace(view(rhs));
    const Matrix<float> twice = method.run(task).weights;
    const double ratio = twice.cast<double>().norm() / once.cast<double>().norm();
    EXPECT_NEAR(ratio, 2, 0.05) << method.name;
  }
}

// SparseGPT's mask, whole multiples of the scales, and outputs that are nearer than those of its weights
// rounded afterwards.
TEST(LayerMethod, PruningAndRoundingMakeUpForEachOther) {
  const Layer layer = random_layer(1024, 64);
  for (const Case& c : kCases) {
    for (const Index group : {0, 32}) {
      SCOPED_TRACE(to_string(c.pattern) + " group " + std::to_string(group));
      LayerTask task = layer.task(rounding_method(), c.pattern, c.sparsity);
      task.scale_group = group;
      const LayerResult pruned = find_layer_method("sparsegpt")->run(task);
      const LayerResult joint = rounding_method().run(task);
      EXPECT_EQ(joint.mask, pruned.mask);
      ASSERT_EQ(joint.scales.values, find_scales(ConstView<float>(view(pruned.weights)), group).values);
      Matrix<float> nearest = pruned.weights;
      for (Index i = 0; i < 1024; ++i) {
        for (Index j = 0; j < 64; ++j) {
          const float scale = joint.scales.at(i, j);
          nearest(i, j) = scale * float(to_int8(pruned.weights(i, j), scale));
          ASSERT_EQ(joint.weights(i, j), scale * float(to_int8(joint.weights(i, j), scale)))
              << i << ", " << j;
          ASSERT_TRUE(joint.mask(i, j) || joint.weights(i, j) == 0) << i << ", " << j;
        }
      }
      // At 1:8 what rounding adds is lost beside what pruning does.
      if (c.sparsity > 0.6) continue;
      const double unrounded = layer.error(pruned.weights);
      EXPECT_LT(layer.error(joint.weights) - unrounded, 0.8 * (layer.error(nearest) - unrounded));
    }
  }
}

TEST(LayerMethod, NotFiniteInputsAreRefused) {
  Layer layer = random_layer(16, 24);
  layer.gram(3, 3) = std::numeric_limits<float>::quiet_NaN();
  for (const LayerMethod& method : layer_methods()) {
    EXPECT_EQ(testing::refusal(ErrorKind::kInput, "",
                               [&] {
                                 method.run(layer.task(method, NM{2, 4}, 0.5));
                               }),
              "")
        << method.name;
  }
}

}  // namespace
}  // namespace prune
