#include "libprune/model/train/trainer.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <prune/prune.h>

#include "libprune/model/bf16.h"
#include "libprune/model/parallel.h"
#include "libprune/model/train/head_loss.h"
#include "libprune/model/train/lora_masking.h"
#include "libprune/model/train/model_pass.h"
#include "test/libprune/model/decoder/reference_layer.h"
#include "test/libprune/model/train/tiny_model.h"

namespace prune {
namespace {

using testing::random_model;
using testing::Row;
using testing::Rows;
using testing::tiny_config;

// --- the whole model in double precision

struct ReferencePass {
  std::vector<Rows> hidden;  // of each layer's output
  Rows logits;
};

ReferencePass reference_pass(const TrainableModel& model, std::span<const int32_t> ids, int64_t length) {
  const DecoderConfig& config = model.config();
  ReferencePass pass;
  pass.hidden.resize(model.layers.size());
  for (size_t begin = 0; begin < ids.size(); begin += size_t(length)) {
    Rows x;
    for (int64_t t = 0; t < length; ++t) {
      const float* token = model.embedding.matrix.row(ids[begin + size_t(t)]);
      Row row;
      for (int64_t c = 0; c < config.width; ++c) {
        double value = double(token[c]) * double(config.embedding_scale);
        if (!model.positions.matrix.empty())
          value += double(model.positions.matrix.row(t + config.family->position_offset)[c]);
        row.push_back(value);
      }
      x.push_back(row);
    }
    for (size_t i = 0; i < model.layers.size(); ++i) {
      x = testing::reference_sequence(model.layers[i], x);
      pass.hidden[i].insert(pass.hidden[i].end(), x.begin(), x.end());
    }
    for (const Row& row : x) {
      const Row normed = testing::reference_norm(model.final_norm, row);
      Row logits;
      for (int64_t v = 0; v < config.vocabulary; ++v) {
        const float* head = model.head_matrix().row(v);
        logits.push_back(testing::dot(Row(head, head + config.width), normed));
      }
      pass.logits.push_back(logits);
    }
  }
  return pass;
}

Row reference_softmax(const Row& z, double temperature) {
  Row p;
  double total = 0;
  for (const double v : z) total += std::exp(v / temperature);
  for (const double v : z) p.push_back(std::exp(v / temperature) / total);
  return p;
}

struct LossWeights {
  HeadLossOptions head;
  double hidden = 0;
};

double reference_loss(const ReferencePass& pass, const ReferencePass* teacher,
                      std::span<const int32_t> targets, const LossWeights& weights) {
  const double a = weights.head.distillation, t = weights.head.temperature;
  double loss = 0, predictions = 0;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0) continue;
    ++predictions;
    loss -= (1 - a) * std::log(reference_softmax(pass.logits[i], 1)[size_t(targets[i])]);
    if (teacher == nullptr) continue;
    const Row p = reference_softmax(teacher->logits[i], t), q = reference_softmax(pass.logits[i], t);
    for (size_t v = 0; v < p.size(); ++v) loss += a * t * t * p[v] * std::log(p[v] / q[v]);
  }
  loss /= predictions;
  for (size_t l = 0; teacher != nullptr && l < pass.hidden.size(); ++l) {
    double difference = 0, scale = 0;
    for (size_t i = 0; i < pass.hidden[l].size(); ++i) {
      for (size_t c = 0; c < pass.hidden[l][i].size(); ++c) {
        difference += std::pow(pass.hidden[l][i][c] - teacher->hidden[l][i][c], 2);
        scale += std::pow(teacher->hidden[l][i][c], 2);
      }
    }
    loss += weights.hidden * difference / scale;
  }
  return loss;
}

// --- gradients of the whole model

class ModelGradientTest : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr int64_t kLength = 4;

  double loss(const ReferencePass* teacher, const LossWeights& weights) const {
    return reference_loss(reference_pass(model_, ids_, kLength), teacher, targets_, weights);
  }

  // Compares all gradients with central differences; every `stride`-th value of each parameter.
  void expect_gradients(const LossWeights& weights, bool keeps_activations) {
    const bool has_teacher = weights.head.distillation > 0 || weights.hidden > 0;
    const TokenBatch batch{ids_, Sequences(2, kLength)};
    const RopeTable rope(config_.rope, kLength);
    ModelActivations activations, seen;
    activations.keeps_layers = keeps_activations;
    forward_model(model_, rope, batch, activations);
    forward_model(teacher_, rope, batch, seen);
    ModelGradients gradients(model_);
    FloatMatrix dnormed;
    HeadLossBuffers head_buffers;
    const HeadInput taught{&seen.normed, &teacher_.head_matrix()};
    const HeadLoss head =
        head_loss({&activations.normed, &model_.head_matrix()}, has_teacher ? &taught : nullptr, targets_,
                  weights.head, head_buffers, &dnormed, &gradients.head_matrix());
    BackwardBuffers buffers;
    const std::vector<double> scales = hidden_scales_of(seen);
    const double hidden = backward_model(model_, rope, batch, activations, dnormed,
                                         {&seen, weights.hidden, scales}, buffers, gradients);

    const ReferencePass expected_teacher = reference_pass(teacher_, ids_, kLength);
    const ReferencePass* reference = has_teacher ? &expected_teacher : nullptr;
    const double a = weights.head.distillation;
    EXPECT_NEAR((1 - a) * head.cross_entropy + a * head.divergence + hidden, loss(reference, weights), 1e-5);
    for (const Parameter& parameter : parameters(model_, gradients)) {
      double difference = 0, squares = 1e-16;
      for (size_t i = 0; i < parameter.values.size(); i += 3) {
        const double slope = slope_of(parameter.values[i], reference, weights);
        difference += std::pow(slope - double(parameter.gradient[i]), 2);
        squares += slope * slope;
      }
      EXPECT_LT(std::sqrt(difference / squares), 1e-5) << parameter.name;
    }
  }

  double slope_of(float& value, const ReferencePass* teacher, const LossWeights& weights) const {
    constexpr float kStep = 1.0F / 2048;
    const float middle = value, high = middle + kStep, low = middle - kStep;
    value = high;
    const double above = loss(teacher, weights);
    value = low;
    const double below = loss(teacher, weights);
    value = middle;
    return (above - below) / (double(high) - double(low));
  }

  DecoderConfig config_ = tiny_config(GetParam());
  TrainableModel model_ = random_model(config_, 3);
  TrainableModel teacher_ = random_model(config_, 4);
  std::vector<int32_t> ids_ = {1, 5, 5, 9, 0, 3, 15, 1}, targets_ = {5, 5, 9, -1, 3, 15, 1, -1};
};

TEST_P(ModelGradientTest, OfCrossEntropy) { expect_gradients({}, true); }
TEST_P(ModelGradientTest, WithATeacherAndActivationsComputedAgain) {
  expect_gradients({{.distillation = 0.7, .temperature = 2}, 0.3}, false);
}

INSTANTIATE_TEST_SUITE_P(Families, ModelGradientTest, ::testing::Values("llama", "gpt2", "gemma"));

// --- training

void set_precision(TrainableModel& model, Precision precision) {
  for (DecoderLayer& layer : model.layers) {
    for (Linear* linear : layer.linears()) linear->precision = precision;
  }
}

void prune_linears(TrainableModel& model) {
  for (DecoderLayer& layer : model.layers) {
    for (Linear* linear : layer.linears()) {
      View<float> w = view(linear->weight.data(), linear->out, linear->in);
      apply(select_magnitude(w, NM{2, 4}, 0.5), w);
    }
  }
}

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    // A text that repeats itself is easy to learn.
    for (int i = 0; i < 96; ++i) ids_.push_back(int32_t(i * i % 7));
    prune_linears(model_);
  }

  std::vector<double> losses(TrainableModel& model, const TrainingOptions& options,
                             const TrainableModel* teacher = nullptr) {
    Trainer trainer(model, teacher, fixed_masking(), ids_, options);
    std::vector<double> result;
    for (int64_t i = 0; i < options.steps; ++i) result.push_back(trainer.step().cross_entropy);
    return result;
  }

  DecoderConfig config_ = tiny_config("llama");
  TrainableModel model_ = random_model(config_, 5);
  std::vector<int32_t> ids_;
  TrainingOptions options_{.steps = 60, .batch = 4, .seqlen = 8, .warm_up = 5, .learning_rate = 2e-2};
};

TEST_F(TrainerTest, LearnsUnderTheMask) {
  const auto masks = testing::masks_of(model_);
  const std::vector<double> seen = losses(model_, options_);
  EXPECT_LT(seen.back(), 0.3 * seen.front());
  EXPECT_EQ(testing::masks_of(model_), masks);
}

TEST_F(TrainerTest, IsTheSameTwice) {
  DecoderConfig config = tiny_config("llama");
  TrainableModel other = random_model(config, 6), same = random_model(config, 6);
  options_.steps = 8;
  EXPECT_EQ(losses(other, options_), losses(same, options_));
}

TEST_F(TrainerTest, PartsOfABatchAddUp) {
  TrainableModel other = random_model(config_, 5);
  options_.steps = 3;
  options_.warm_up = 1;
  options_.accumulate = 4;
  const std::vector<double> in_parts = losses(other, options_);
  TrainableModel whole = random_model(config_, 5);
  options_.accumulate = 1;
  const std::vector<double> at_once = losses(whole, options_);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(in_parts[i], at_once[i], 1e-4);
}

TEST_F(TrainerTest, IsTheSameWithTeams) {
  options_.steps = 3;
  options_.warm_up = 1;
  options_.batch = 10;
  options_.accumulate = 2;
  options_.seqlen = 24;
  options_.hidden_weight = 0.1;
  const TrainableModel teacher = random_model(config_, 7);
  for (const bool adapts : {false, true}) {
    const auto steps_with = [&](int count) {
      const ThreadCount threads(count);
      TrainableModel model = random_model(config_, 5);
      prune_linears(model);
      Trainer trainer(model, &teacher, adapts ? lora_masking(2, 1) : fixed_masking(), ids_, options_);
      std::vector<TrainingStep> steps;
      for (int64_t i = 0; i < options_.steps; ++i) steps.push_back(trainer.step());
      return steps;
    };
    const std::vector<TrainingStep> one = steps_with(1), three = steps_with(3);
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_NEAR(three[i].cross_entropy, one[i].cross_entropy, 1e-4);
      EXPECT_NEAR(three[i].divergence, one[i].divergence, 1e-4);
      EXPECT_NEAR(three[i].hidden_loss, one[i].hidden_loss, 1e-4 * one[i].hidden_loss);
      EXPECT_NEAR(three[i].gradient_norm, one[i].gradient_norm, 1e-3 * one[i].gradient_norm);
    }
  }
}

// A team whose sequence sends no token to an expert has nothing to multiply.
TEST_F(TrainerTest, TrainsExpertsThatGetNoToken) {
  DecoderConfig config = tiny_config("mixtral");
  options_ = {.steps = 3, .batch = 3, .seqlen = 2, .warm_up = 1, .learning_rate = 1e-2};
  for (const int count : {1, 3}) {
    const ThreadCount threads(count);
    TrainableModel model = random_model(config, 5);
    for (const double loss : losses(model, options_)) EXPECT_TRUE(std::isfinite(loss));
  }
}

TEST_F(TrainerTest, LearnsWithLamb) {
  options_.optimizer = OptimizerKind::kLamb;
  const std::vector<double> seen = losses(model_, options_);
  EXPECT_LT(seen.back(), 0.6 * seen.front());
}

TEST_F(TrainerTest, FollowsATeacher) {
  TrainableModel teacher = random_model(config_, 5);
  options_.distillation = 1;
  options_.hidden_weight = 0.1;
  Trainer trainer(model_, &teacher, fixed_masking(), ids_, options_);
  const double first = trainer.step().divergence;
  double last = 0;
  for (int64_t i = 1; i < options_.steps; ++i) last = trainer.step().divergence;
  EXPECT_LT(last, 0.5 * first);
}

TEST_F(TrainerTest, MultipliesInBf16WhereItIsTold) {
  if (!has_bf16_products()) GTEST_SKIP() << "this processor has no products of bf16";
  TrainableModel rounded = random_model(config_, 5), exact = random_model(config_, 5);
  set_precision(rounded, Precision::kBf16);
  TrainingOptions in_bf16 = options_;
  in_bf16.precision = Precision::kBf16;
  const std::vector<double> seen = losses(rounded, in_bf16), expected = losses(exact, options_);
  EXPECT_NE(seen.front(), expected.front());
  EXPECT_NEAR(seen.front(), expected.front(), 0.01 * expected.front());
  EXPECT_LT(seen.back(), 0.3 * seen.front());
}

// Products read weights that were rounded once: they must be those of this step.
TEST_F(TrainerTest, KeepsRoundedWeightsUpToDate) {
  if (!has_bf16_products()) GTEST_SKIP() << "this processor has no products of bf16";
  options_.precision = Precision::kBf16;
  options_.steps = 4;
  options_.warm_up = 1;
  for (const OptimizerKind optimizer : {OptimizerKind::kAdamW, OptimizerKind::kLamb}) {
    TrainableModel model = random_model(config_, 5);
    set_precision(model, Precision::kBf16);
    options_.optimizer = optimizer;
    Trainer trainer(model, nullptr, fixed_masking(), ids_, options_);
    for (int64_t i = 0; i < options_.steps; ++i) {
      trainer.step();
      for (DecoderLayer& layer : model.layers) {
        for (const Linear* linear : layer.linears()) {
          Bf16Memory expected(size_t(linear->weight.size()));
          round_rows_to_bf16(linear->weight.data(), linear->in, linear->out, linear->in, expected.data());
          ASSERT_EQ(linear->rounded, expected) << linear->weight_name << " after step " << i;
        }
      }
    }
  }
}

TEST_F(TrainerTest, ReadsNoWeightsOfTheStepBefore) {
  if (!has_bf16_products()) GTEST_SKIP() << "this processor has no products of bf16";
  options_.precision = Precision::kBf16;
  set_precision(model_, Precision::kBf16);
  // Nothing but linear layers moves: a loss that falls has read them.
  Trainer trainer(model_, nullptr, lora_masking(2, 1), ids_, options_);
  const double first = trainer.step().cross_entropy;
  double last = 0;
  for (int64_t i = 1; i < options_.steps; ++i) last = trainer.step().cross_entropy;
  EXPECT_LT(last, 0.8 * first);
}

// A masking whose masks nobody is told: all products are dense.
class SilentMasking : public Masking {
 public:
  explicit SilentMasking(std::unique_ptr<Masking> own) : own_(std::move(own)) {}
  void begin(std::span<const MaskedLinear> linears) override { own_->begin(linears); }
  bool is_fixed() const override { return own_->is_fixed(); }
  bool trains_linears_only() const override { return own_->trains_linears_only(); }
  std::span<float> moved(const Linear& linear) const override { return own_->moved(linear); }
  void before_forward(int64_t step) override { own_->before_forward(step); }
  double after_backward(int64_t step) override { return own_->after_backward(step); }
  void after_update() override { own_->after_update(); }
  void visit(StateVisitor& state) override { own_->visit(state); }

 private:
  std::unique_ptr<Masking> own_;
};

struct LeavingOut {
  const char* family;
  bool adapts;
  int threads;
};
class LeavingOutTest : public TrainerTest, public ::testing::WithParamInterface<LeavingOut> {};

TEST_P(LeavingOutTest, TrainsAsDenseProductsDo) {
  if (kernels::MaskedPlan::densest() < 0.5) GTEST_SKIP() << "this processor has no such kernels";
  const ThreadCount threads(GetParam().threads);
  options_.steps = 5;
  options_.warm_up = 1;
  options_.seqlen = 32;
  const DecoderConfig config = tiny_config(GetParam().family);
  const auto masking = [] { return GetParam().adapts ? lora_masking(2, 1) : fixed_masking(); };
  TrainableModel sparse = random_model(config, 5), dense = random_model(config, 5);
  for (TrainableModel* model : {&sparse, &dense}) prune_linears(*model);
  Trainer leaving(sparse, nullptr, masking(), ids_, options_);
  Trainer whole(dense, nullptr, std::make_unique<SilentMasking>(masking()), ids_, options_);
  for (int64_t i = 0; i < options_.steps; ++i) {
    const TrainingStep found = leaving.step(), expected = whole.step();
    EXPECT_NEAR(found.loss, expected.loss, 1e-4 * expected.loss) << "step " << i;
    EXPECT_NEAR(found.gradient_norm, expected.gradient_norm, 2e-3 * expected.gradient_norm) << "step " << i;
    for (size_t l = 0; l < sparse.layers.size(); ++l) {
      for (const Linear* linear : sparse.layers[l].linears()) EXPECT_TRUE(linear->leaves_out(32));
      for (const Linear* linear : dense.layers[l].linears()) EXPECT_FALSE(linear->leaves_out(32));
    }
  }
  EXPECT_EQ(testing::masks_of(sparse), testing::masks_of(dense));
}

// A batch of 128 tokens: with one thread each of mixtral's experts has 64 on average, with four 16, so that
// some are dense.
INSTANTIATE_TEST_SUITE_P(Families, LeavingOutTest,
                         ::testing::Values(LeavingOut{"llama", false, 1}, LeavingOut{"llama", true, 3},
                                           LeavingOut{"qwen2", false, 3}, LeavingOut{"gpt2", true, 1},
                                           LeavingOut{"mixtral", false, 1}, LeavingOut{"mixtral", false, 4},
                                           LeavingOut{"mixtral", true, 4}));

TEST_F(TrainerTest, MultipliesTheWeightsOfNowBetweenSteps) {
  if (kernels::MaskedPlan::densest() < 0.5) GTEST_SKIP() << "this processor has no such kernels";
  options_.seqlen = 32;
  for (const bool adapts : {false, true}) {
    TrainableModel model = random_model(config_, 5);
    prune_linears(model);
    Trainer trainer(model, nullptr, adapts ? lora_masking(2, 1) : fixed_masking(), ids_, options_);
    for (int step = 0; step < 3; ++step) {
      trainer.step();
      for (const Linear* linear : std::as_const(model.layers[0]).linears()) {
        constexpr int64_t kRows = 16;
        ASSERT_TRUE(linear->leaves_out(kRows)) << linear->weight_name;
        std::vector<float> x(size_t(kRows * linear->in)), y(size_t(kRows * linear->out)), expected(y.size());
        for (size_t i = 0; i < x.size(); ++i) x[i] = float(int(i % 13) - 6) / 8;
        linear->forward(x.data(), linear->in, y.data(), linear->out, kRows);
        // One row at a time is a dense product.
        for (int64_t i = 0; i < kRows; ++i)
          linear->forward(x.data() + i * linear->in, linear->in, expected.data() + i * linear->out,
                          linear->out, 1);
        for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 1e-4) << linear->weight_name;
      }
    }
  }
}

TEST_F(TrainerTest, LeavesOutNothingAfterwards) {
  if (kernels::MaskedPlan::densest() < 0.5) GTEST_SKIP() << "this processor has no such kernels";
  {
    options_.seqlen = 32;
    Trainer trainer(model_, nullptr, fixed_masking(), ids_, options_);
    trainer.step();
    for (const Linear* linear : model_.layers[0].linears()) EXPECT_NE(linear->masked, nullptr);
  }
  for (DecoderLayer& layer : model_.layers) {
    for (const Linear* linear : layer.linears()) EXPECT_EQ(linear->masked, nullptr);
  }
}

// Keeps all pieces of a state in their order, or puts them back: layers of random models share their names.
class Snapshot : public StateVisitor {
 public:
  void bytes(const std::string& name, std::span<std::byte> values) override {
    if (!puts_back) {
      pieces_.emplace_back(values.begin(), values.end());
      return;
    }
    const std::vector<std::byte>& kept = pieces_.at(next_++);
    ASSERT_EQ(kept.size(), values.size()) << name;
    std::ranges::copy(kept, values.begin());
  }
  bool puts_back = false;

 private:
  std::vector<std::vector<std::byte>> pieces_;
  size_t next_ = 0;
};

TEST_F(TrainerTest, GoesOnAfterItWasRestoredAsIfNothingHadHappened) {
  options_.steps = 8;
  options_.warm_up = 1;
  options_.seqlen = 24;
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    options_.precision = precision;
    TrainableModel whole = random_model(config_, 5), resumed = random_model(config_, 9);
    set_precision(whole, precision);
    set_precision(resumed, precision);
    prune_linears(whole);
    Trainer first(whole, nullptr, fixed_masking(), ids_, options_);
    for (int i = 0; i < 3; ++i) first.step();
    const bool in_floats = precision == Precision::kF32 || !has_bf16_products();
    const bool leaves_out = in_floats && kernels::MaskedPlan::densest() >= 0.5;
    EXPECT_EQ(whole.layers[0].qkv[0].masked != nullptr, leaves_out);
    Snapshot snapshot;
    first.visit(snapshot);
    Trainer second(resumed, nullptr, fixed_masking(), ids_, options_);
    snapshot.puts_back = true;
    second.visit(snapshot);
    second.restored();
    EXPECT_EQ(second.steps_done(), 3);
    for (int i = 3; i < options_.steps; ++i) EXPECT_EQ(second.step().loss, first.step().loss) << i;
    for (size_t l = 0; l < whole.layers.size(); ++l) {
      const std::vector<Linear*> expected = whole.layers[l].linears(), found = resumed.layers[l].linears();
      for (size_t i = 0; i < found.size(); ++i) {
        const float* weights = expected[i]->weight.data();
        EXPECT_TRUE(std::equal(weights, weights + expected[i]->weight.size(), found[i]->weight.data()));
        EXPECT_EQ(found[i]->rounded, expected[i]->rounded) << found[i]->weight_name;
      }
    }
  }
}

TEST_F(TrainerTest, SaysWhenItDiverges) {
  options_.learning_rate = 1e3;
  options_.clip = 0;
  options_.warm_up = 0;
  try {
    losses(model_, options_);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("smaller learning rate"));
    EXPECT_EQ(error.kind(), ErrorKind::kRuntime);
  }
}

TEST_F(TrainerTest, RefusesWhatCannotBe) {
  const auto message = [&](const TrainingOptions& options,
                           const TrainableModel* teacher = nullptr) -> std::string {
    try {
      Trainer(model_, teacher, fixed_masking(), ids_, options);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  TrainingOptions options = options_;
  options.seqlen = 97;
  EXPECT_THAT(message(options), ::testing::HasSubstr("96 tokens, less than one sequence of 97"));
  options = options_;
  options.learning_rate = 0;
  EXPECT_THAT(message(options), ::testing::HasSubstr("learning rate"));
  DecoderConfig other = config_;
  other.vocabulary = 12;
  const TrainableModel teacher = random_model(other, 1);
  EXPECT_THAT(message(options_, &teacher), ::testing::HasSubstr("vocabulary of 12"));
}

}  // namespace
}  // namespace prune
