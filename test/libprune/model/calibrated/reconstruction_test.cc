#include "libprune/model/calibrated/reconstruction.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <prune/prune.h>

#include "libprune/model/decoder/forward.h"
#include "libprune/model/parallel.h"
#include "test/libprune/model/decoder/tiny_layers.h"

namespace prune {
namespace {

// A dense layer's outputs on random inputs, and the layer pruned to 2:4.
class ReconstructionTest : public ::testing::Test {
 protected:
  ReconstructionTest() {
    for (int64_t s = 0; s < data_.count; ++s) {
      inputs_.push_back(random_.values(data_.length, config_.width, 1));
      targets_.emplace_back(data_.length, config_.width);
      LayerActivations activations;
      forward_layer(layer_, rope_, Sequences(1, data_.length), inputs_.back().data(), targets_.back().data(),
                    activations);
    }
    for (Linear* linear : layer_.linears()) {
      View<float> w = view(linear->weight.data(), linear->out, linear->in);
      masks_.push_back(select_magnitude(w, NM{2, 4}, 0.5));
      apply(masks_.back(), w);
    }
  }

  void read(int64_t s, float* x, float* t) const {
    const FloatMatrix &input = inputs_[size_t(s)], &target = targets_[size_t(s)];
    std::copy(input.data(), input.data() + input.size(), x);
    std::copy(target.data(), target.data() + target.size(), t);
  }

  ReconstructionResult run(const ReconstructionOptions& options) {
    const ReconstructedLayer trained{.layer = layer_, .masks = masks_};
    return reconstruct_layers({&trained, 1}, rope_, data_, options);
  }

  DecoderConfig config_ = testing::tiny_families()[0].parse();
  testing::RandomLayer random_{config_, 11};
  DecoderLayer layer_ = random_.make();
  RopeTable rope_{config_.rope, 6};
  std::vector<FloatMatrix> inputs_, targets_;
  std::vector<Mask> masks_;
  ReconstructionData data_{
      .count = 12, .length = 6, .read = [this](int64_t s, float* x, float* t) { read(s, x, t); }};
};

TEST_F(ReconstructionTest, LowersTheErrorUnderTheMask) {
  const std::vector<float> norm = layer_.attention_norm.weight, bias = layer_.output.bias;
  const ReconstructionResult result = run({.steps = 150, .batch = 4, .learning_rate = 1e-2});
  EXPECT_LT(result.error_after, 0.5 * result.error_before);
  for (size_t i = 0; i < masks_.size(); ++i) {
    const Linear& linear = *layer_.linears()[i];
    EXPECT_EQ(nonzero_mask(view(linear.weight.data(), linear.out, linear.in)), masks_[i]);
  }
  EXPECT_EQ(layer_.attention_norm.weight, norm);
  EXPECT_EQ(layer_.output.bias, bias);
}

TEST_F(ReconstructionTest, TrainsNormsAndBiasesWhenAsked) {
  const std::vector<float> norm = layer_.attention_norm.weight, bias = layer_.output.bias;
  const ReconstructionResult result =
      run({.steps = 150, .batch = 4, .learning_rate = 1e-2, .trains_biases = true, .trains_norms = true});
  EXPECT_LT(result.error_after, 0.5 * result.error_before);
  EXPECT_NE(layer_.attention_norm.weight, norm);
  EXPECT_NE(layer_.output.bias, bias);
}

TEST_F(ReconstructionTest, LeavesTheLayerAloneWhereItWouldGetWorse) {
  const auto values = [&] {
    std::vector<std::vector<float>> all;
    for (const Linear* linear : layer_.linears()) {
      all.emplace_back(linear->weight.data(), linear->weight.data() + linear->weight.size());
      all.push_back(linear->bias);
    }
    return all;
  };
  const auto before = values();
  const ReconstructionResult result = run({.steps = 3, .learning_rate = 5});
  EXPECT_EQ(result.error_after, result.error_before);
  EXPECT_EQ(values(), before);
}

TEST_F(ReconstructionTest, SaysWhereTheTargetsAreNotFinite) {
  targets_[0].data()[3] = std::numeric_limits<float>::quiet_NaN();
  try {
    run({.steps = 1});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("layer 0"));
  }
}

// Four sequences a step for one team of threads, or one, one and two for three of them.
TEST_F(ReconstructionTest, IsTheSameWithTeams) {
  const ReconstructionOptions options{
      .steps = 5, .batch = 4, .learning_rate = 1e-2, .trains_biases = true, .precision = Precision::kF32};
  const auto weights_with = [&](int count, double& error) {
    DecoderLayer layer = testing::RandomLayer(config_, 11).make();  // layer_ again
    for (size_t i = 0; i < masks_.size(); ++i) {
      Linear& linear = *layer.linears()[i];
      apply(masks_[i], view(linear.weight.data(), linear.out, linear.in));
    }
    const ThreadCount threads(count);
    const ReconstructedLayer trained{.layer = layer, .masks = masks_};
    error = reconstruct_layers({&trained, 1}, rope_, data_, options).error_after;
    std::vector<float> values;
    for (const Linear* linear : layer.linears())
      values.insert(values.end(), linear->weight.data(), linear->weight.data() + linear->weight.size());
    return values;
  };
  double error_of_one = 0, error_of_three = 0;
  const std::vector<float> one = weights_with(1, error_of_one), three = weights_with(3, error_of_three);
  EXPECT_NEAR(error_of_three, error_of_one, 1e-3 * error_of_one);
  double difference = 0, squares = 0;
  for (size_t i = 0; i < one.size(); ++i) {
    difference += std::pow(double(one[i]) - double(three[i]), 2);
    squares += double(one[i]) * double(one[i]);
  }
  EXPECT_LT(std::sqrt(difference / squares), 1e-3);
}

// The target is what two dense layers give. Training the second alone can't do as well as both.
TEST_F(ReconstructionTest, TrainsNeighboursTogether) {
  const auto pruned_layer = [&](uint64_t seed) {
    testing::RandomLayer random(config_, unsigned(seed));
    return random.make();
  };
  std::vector<DecoderLayer> layers;
  layers.push_back(pruned_layer(21));
  layers.push_back(pruned_layer(22));
  for (int64_t s = 0; s < data_.count; ++s) {
    FloatMatrix& t = targets_[size_t(s)];
    LayerActivations activations;
    const Sequences sequence(1, data_.length);
    forward_layer(layers[0], rope_, sequence, inputs_[size_t(s)].data(), t.data(), activations);
    forward_layer(layers[1], rope_, sequence, t.data(), t.data(), activations);
  }
  std::vector<ReconstructedLayer> trained;
  for (DecoderLayer& layer : layers) {
    trained.push_back({.layer = layer, .masks = {}});
    for (Linear* linear : layer.linears()) {
      View<float> w = view(linear->weight.data(), linear->out, linear->in);
      trained.back().masks.push_back(select_magnitude(w, NM{2, 4}, 0.5));
      apply(trained.back().masks.back(), w);
    }
  }
  const ReconstructionOptions options{.steps = 200, .batch = 4, .learning_rate = 1e-2};
  const ReconstructionResult result = reconstruct_layers(trained, rope_, data_, options);
  EXPECT_LT(result.error_after, 0.5 * result.error_before);
  for (const ReconstructedLayer& each : trained) {
    for (size_t i = 0; i < each.masks.size(); ++i) {
      const Linear& linear = *each.layer.linears()[i];
      EXPECT_EQ(nonzero_mask(view(linear.weight.data(), linear.out, linear.in)), each.masks[i]);
    }
  }
}

TEST_F(ReconstructionTest, RefusesNoLayers) { EXPECT_THROW(reconstruct_layers({}, rope_, data_, {}), Error); }

TEST_F(ReconstructionTest, RefusesMasksOfOtherShapes) {
  masks_.pop_back();
  EXPECT_THROW(run({}), Error);
}

}  // namespace
}  // namespace prune
