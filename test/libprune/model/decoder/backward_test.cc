// Gradients against central differences of a forward pass in double precision.
#include "libprune/model/decoder/backward.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <gmock/gmock.h>

#include "libprune/model/bf16.h"
#include "libprune/model/parallel.h"
#include "test/libprune/model/decoder/reference_layer.h"
#include "test/libprune/model/decoder/tiny_layers.h"

namespace prune {
namespace {

using testing::Row;

constexpr double kTolerance = 1e-5;

// |values - reference| / |reference|, in the Euclidean norm.
double relative_difference(const float* values, const Row& reference) {
  double difference = 0, squares = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    difference += std::pow(double(values[i]) - reference[i], 2);
    squares += reference[i] * reference[i];
  }
  return std::sqrt(difference / squares);
}

// A layer, a batch of two sequences of different length, and the loss sum(dy * y).
class Problem {
 public:
  explicit Problem(const testing::TinyFamily& family)
      : config_(family.parse()),
        random_(config_, 7),
        layer_(random_.make()),
        sequences_(std::vector<int64_t>{5, 3}),
        rope_(config_.rope, 5),
        x_(random_.values(sequences_.tokens(), config_.width, 1)),
        dy_(random_.values(sequences_.tokens(), config_.width, 1)) {}

  double loss() const {
    const Row y = testing::reference_layer(layer_, sequences_, x_.data());
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += double(dy_.data()[i]) * y[i];
    return sum;
  }

  // d loss / d values, by central differences.
  Row slopes(std::span<float> values) const {
    constexpr float kStep = 1.0F / 4096;
    Row result;
    for (float& value : values) {
      const float middle = value, high = middle + kStep, low = middle - kStep;
      value = high;
      const double above = loss();
      value = low;
      const double below = loss();
      value = middle;
      result.push_back((above - below) / (double(high) - double(low)));
    }
    return result;
  }

  FloatMatrix forward(LayerActivations& activations) const {
    FloatMatrix y(x_.rows(), x_.cols());
    forward_layer(layer_, rope_, sequences_, x_.data(), y.data(), activations);
    return y;
  }

  FloatMatrix backward(LayerGradients& gradients) const {
    LayerActivations activations;
    forward(activations);
    BackwardBuffers buffers;
    FloatMatrix dx(x_.rows(), x_.cols());
    backward_layer(layer_, rope_, sequences_, x_.data(), activations, dy_.data(), dx.data(), buffers,
                   gradients);
    return dx;
  }

  DecoderConfig config_;
  testing::RandomLayer random_;
  DecoderLayer layer_;
  Sequences sequences_;
  RopeTable rope_;
  FloatMatrix x_, dy_;
};

class LayerBackwardTest : public ::testing::TestWithParam<testing::TinyFamily> {
 protected:
  Problem problem_{GetParam()};
};

TEST_P(LayerBackwardTest, ForwardIsTheReference) {
  LayerActivations activations;
  const FloatMatrix y = problem_.forward(activations);
  EXPECT_LT(relative_difference(
                y.data(), testing::reference_layer(problem_.layer_, problem_.sequences_, problem_.x_.data())),
            1e-6);
}

TEST_P(LayerBackwardTest, EqualsCentralDifferences) {
  LayerGradients gradients(problem_.layer_);
  const FloatMatrix dx = problem_.backward(gradients);
  EXPECT_LT(relative_difference(dx.data(), problem_.slopes({problem_.x_.data(), size_t(problem_.x_.size())})),
            kTolerance);
  for (const Parameter& parameter : parameters(problem_.layer_, gradients)) {
    // softmax(q k) does not see what is added to all keys.
    if (parameter.name == "qkv1.bias" && problem_.config_.rope.dimensions == 0) continue;
    EXPECT_LT(relative_difference(parameter.gradient.data(), problem_.slopes(parameter.values)), kTolerance)
        << parameter.name;
  }
}

// All products rounded, those of attention too; a bf16 has a relative error of up to 1/256.
TEST_P(LayerBackwardTest, InBf16IsNearTheReference) {
  for (Linear* linear : problem_.layer_.linears()) linear->precision = Precision::kBf16;
  LayerActivations activations;
  const FloatMatrix y = problem_.forward(activations);
  const double error = relative_difference(
      y.data(), testing::reference_layer(problem_.layer_, problem_.sequences_, problem_.x_.data()));
  EXPECT_LT(error, 0.02);
  EXPECT_EQ(error > 1e-5, has_bf16_products());
  LayerGradients gradients(problem_.layer_);
  const FloatMatrix dx = problem_.backward(gradients);
  EXPECT_LT(relative_difference(dx.data(), problem_.slopes({problem_.x_.data(), size_t(problem_.x_.size())})),
            0.06);
  // Of all together: those of small layers are small differences of large terms.
  std::vector<float> found;
  Row expected;
  for (const Parameter& parameter : parameters(problem_.layer_, gradients)) {
    found.insert(found.end(), parameter.gradient.begin(), parameter.gradient.end());
    const Row slopes = problem_.slopes(parameter.values);
    expected.insert(expected.end(), slopes.begin(), slopes.end());
  }
  EXPECT_LT(relative_difference(found.data(), expected), 0.06);
}

TEST_P(LayerBackwardTest, AddsToGradientsAndNeedsNoInputGradient) {
  LayerGradients once(problem_.layer_), twice(problem_.layer_);
  problem_.backward(once);
  LayerActivations activations;
  problem_.forward(activations);
  BackwardBuffers buffers;
  for (int i = 0; i < 2; ++i) {
    backward_layer(problem_.layer_, problem_.rope_, problem_.sequences_, problem_.x_.data(), activations,
                   problem_.dy_.data(), nullptr, buffers, twice);
  }
  const std::vector<Parameter> expected = parameters(problem_.layer_, once),
                               sums = parameters(problem_.layer_, twice);
  for (size_t p = 0; p < sums.size(); ++p) {
    double largest = 0, difference = 0;
    for (size_t i = 0; i < sums[p].gradient.size(); ++i) {
      largest = std::max(largest, std::abs(2.0 * double(expected[p].gradient[i])));
      difference =
          std::max(difference, std::abs(double(sums[p].gradient[i]) - 2.0 * double(expected[p].gradient[i])));
    }
    EXPECT_LE(difference, 1e-5 * largest + 1e-6) << sums[p].name;
  }
  twice.clear();
  for (const Parameter& parameter : sums)
    EXPECT_THAT(parameter.gradient, ::testing::Each(0.0F)) << parameter.name;
}

// Of linears that no token reached too.
TEST_P(LayerBackwardTest, WritesOverGradientsAfterARestart) {
  LayerGradients once(problem_.layer_), again(problem_.layer_);
  problem_.backward(once);
  for (const Parameter& parameter : parameters(problem_.layer_, again))
    std::ranges::fill(parameter.gradient, 1000.0F);
  again.restart();
  problem_.backward(again);
  const std::vector<Parameter> expected = parameters(problem_.layer_, once),
                               found = parameters(problem_.layer_, again);
  for (size_t p = 0; p < found.size(); ++p) {
    for (size_t i = 0; i < found[p].gradient.size(); ++i)
      ASSERT_NEAR(found[p].gradient[i], expected[p].gradient[i], 1e-5) << found[p].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, LayerBackwardTest, ::testing::ValuesIn(testing::tiny_families()),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::erase_if(
                               name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
                           return name;
                         });

// Keys and values are summed in parts where their four heads do not share out evenly.
TEST(AttendBackward, IsTheSameWithManyThreads) {
  for (const int64_t window : {0, 100}) {
    const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 8, .scale = 0.4F, .window = window};
    const Sequences sequences(std::vector<int64_t>{5, 300});
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    FloatMatrix qkv(sequences.tokens(), shape.qkv_width()), dcontext(sequences.tokens(), 4 * 8);
    std::generate_n(qkv.data(), qkv.size(), [&] { return normal(rng); });
    std::generate_n(dcontext.data(), dcontext.size(), [&] { return normal(rng); });
    const auto slopes_with = [&](int count) {
      const ThreadCount threads(count);
      FloatMatrix dqkv(sequences.tokens(), shape.qkv_width());
      attend_backward(shape, sequences, qkv.data(), dcontext.data(), dqkv.data());
      return dqkv;
    };
    const FloatMatrix one = slopes_with(1);
    for (const int threads : {3, 9, 32}) {
      const FloatMatrix many = slopes_with(threads);
      for (int64_t i = 0; i < one.size(); ++i) ASSERT_NEAR(many.data()[i], one.data()[i], 1e-4) << i;
    }
  }
}

}  // namespace
}  // namespace prune
