#include "libprune/model/train/lora_masking.h"

#include <cmath>

#include <gtest/gtest.h>
#include <prune/prune.h>

#include "libprune/model/train/trainer.h"
#include "test/libprune/model/train/tiny_model.h"

namespace prune {
namespace {

class LoraMaskingTest : public ::testing::Test {
 protected:
  LoraMaskingTest() { apply(select_magnitude(linear_.weight(), NM{2, 4}, 0.5), linear_.weight()); }

  std::span<float> factors() const { return masking_->moved(*linear_.linear); }

  // <G, W'> with the factors as they are.
  double product(const Matrix<float>& g) {
    masking_->after_update();
    return linear_.weight().cast<double>().cwiseProduct(g.cast<double>()).sum();
  }

  DecoderConfig config_ = testing::tiny_config("llama");
  TrainableModel model_ = testing::random_model(config_, 5);
  ModelGradients gradients_{model_};
  MaskedLinear linear_{&model_.layers[0].output, &gradients_.layers[0].output};
  std::unique_ptr<Masking> masking_ = lora_masking(2, 1);
};

TEST_F(LoraMaskingTest, StartsFromTheModelAndMovesInsideTheMask) {
  const Matrix<float> start = linear_.weight();
  masking_->begin(std::span(&linear_, 1));
  masking_->after_update();
  EXPECT_EQ(Matrix<float>(linear_.weight()), start);
  std::ranges::fill(factors(), 0.5F);
  masking_->after_update();
  // 2 B A is 2 * rank / 4 everywhere.
  for (Index i = 0; i < start.size(); ++i)
    EXPECT_FLOAT_EQ(linear_.weight().data()[i], start.data()[i] == 0 ? 0 : start.data()[i] + 1);
}

TEST_F(LoraMaskingTest, HasTheGradientOfItsFactors) {
  masking_->begin(std::span(&linear_, 1));
  for (size_t i = 0; i < factors().size(); ++i) factors()[i] = float(std::sin(double(3 * i)));
  Matrix<float> g(linear_.weight().rows(), linear_.weight().cols());
  for (Index i = 0; i < g.size(); ++i) g.data()[i] = float(std::cos(double(i)));
  linear_.slope() = g;
  masking_->after_backward(0);
  for (size_t i = 0; i < factors().size(); ++i) {
    const float middle = factors()[i];
    factors()[i] = middle + 0.125F;
    const double above = product(g);
    factors()[i] = middle - 0.125F;
    const double below = product(g);
    factors()[i] = middle;
    EXPECT_NEAR(linear_.gradient->weight.data()[i], (above - below) / 0.25, 1e-4) << i;
  }
}

TEST_F(LoraMaskingTest, TrainsNothingElse) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 96; ++i) ids.push_back(int32_t(i * i % 7));
  const TrainableModel before = testing::random_model(config_, 5);
  const TrainingOptions options{.steps = 40, .batch = 4, .seqlen = 8, .warm_up = 2, .learning_rate = 3e-2};
  const Mask mask = nonzero_mask(linear_.weight());
  Trainer trainer(model_, nullptr, lora_masking(2, 1), ids, options);
  const double first = trainer.step().cross_entropy;
  double last = 0;
  while (trainer.steps_done() < options.steps) last = trainer.step().cross_entropy;
  EXPECT_LT(last, 0.8 * first);
  EXPECT_EQ(nonzero_mask(linear_.weight()), mask);
  const FloatMatrix &now = model_.embedding.matrix, &then = before.embedding.matrix;
  EXPECT_TRUE(std::equal(now.data(), now.data() + now.size(), then.data()));
  EXPECT_EQ(model_.final_norm.weight, before.final_norm.weight);
  EXPECT_EQ(model_.layers[1].output.bias, before.layers[1].output.bias);
}

TEST_F(LoraMaskingTest, PartsOfABatchMakeTheSameStep) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 96; ++i) ids.push_back(int32_t(i * i % 7));
  TrainingOptions options{.steps = 3, .batch = 4, .seqlen = 8, .warm_up = 0, .learning_rate = 1e-3};
  TrainableModel whole = testing::random_model(config_, 5), parts = testing::random_model(config_, 5);
  Trainer once(whole, nullptr, lora_masking(2, 1), ids, options);
  options.accumulate = 4;
  Trainer in_parts(parts, nullptr, lora_masking(2, 1), ids, options);
  for (int t = 0; t < 3; ++t) {
    const double norm = once.step().gradient_norm;
    EXPECT_NEAR(in_parts.step().gradient_norm, norm, 1e-4 * norm);
  }
}

TEST_F(LoraMaskingTest, RefusesARankThatSavesNothing) {
  EXPECT_THROW(lora_masking(0, 1), Error);
  EXPECT_THROW(lora_masking(6, 1)->begin(std::span(&linear_, 1)), Error);
}

}  // namespace
}  // namespace prune
