#include "libprune/model/train/masking.h"

#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <prune/prune.h>

#include "libprune/model/train/gradual_masking.h"
#include "libprune/model/train/movement_masking.h"
#include "libprune/model/train/trainer.h"
#include "test/libprune/model/train/tiny_model.h"

namespace prune {
namespace {

constexpr int64_t kSteps = 20;

MaskGoal goal_of(const Pattern& pattern, double sparsity, Scope scope = Scope::kLayer) {
  return {.pattern = pattern,
          .sparsity = sparsity,
          .scope = scope,
          .schedule = {.first = 0, .last = sparsity, .steps = kSteps, .warm_up = 2, .cool_down = 6}};
}

struct Trace {
  std::vector<std::vector<Mask>> masks;  // after each step
  std::vector<TrainingStep> steps;
};

// Products of the last step read what its weights were: masked as they are now, and no older than a step.
void expect_rounded_of_last_step(const TrainableModel& model, Precision precision) {
  for (const DecoderLayer& layer : model.layers) {
    for (const Linear* linear : layer.linears()) {
      ASSERT_EQ(linear->rounded.empty(), !reads_bf16(precision));
      for (size_t i = 0; i < linear->rounded.size(); ++i) {
        const float w = linear->weight.data()[i];
        const auto rounded = float(Eigen::numext::bit_cast<Eigen::bfloat16>(linear->rounded[i]));
        ASSERT_EQ(rounded == 0, w == 0) << linear->weight_name;
        ASSERT_NEAR(rounded, w, 0.03F + std::abs(w) / 128) << linear->weight_name;
      }
    }
  }
}

// Trains a small model on a text that repeats itself.
Trace train(std::unique_ptr<Masking> masking, Precision precision = Precision::kF32) {
  const DecoderConfig config = testing::tiny_config("llama");
  TrainableModel model = testing::random_model(config, 5);
  std::vector<int32_t> ids;
  for (int i = 0; i < 96; ++i) ids.push_back(int32_t(i * i % 7));
  for (DecoderLayer& layer : model.layers) {
    for (Linear* linear : layer.linears()) linear->precision = precision;
  }
  const TrainingOptions options{
      .steps = kSteps, .batch = 4, .seqlen = 8, .warm_up = 2, .learning_rate = 1e-2, .precision = precision};
  Trainer trainer(model, nullptr, std::move(masking), ids, options);
  Trace run;
  for (int64_t i = 0; i < kSteps; ++i) {
    run.steps.push_back(trainer.step());
    run.masks.push_back(testing::masks_of(model));
  }
  expect_rounded_of_last_step(model, precision);
  return run;
}

int64_t kept(const std::vector<Mask>& masks) {
  int64_t sum = 0;
  for (const Mask& mask : masks) sum += mask.count();
  return sum;
}

int64_t size_of(const std::vector<Mask>& masks) {
  int64_t sum = 0;
  for (const Mask& mask : masks) sum += mask.size();
  return sum;
}

bool is_subset(const Mask& part, const Mask& whole) {
  for (Index i = 0; i < part.rows(); ++i) {
    for (size_t w = 0; w < part.row(i).size(); ++w) {
      if (part.row(i)[w] & ~whole.row(i)[w]) return false;
    }
  }
  return true;
}

using Make = std::function<std::unique_ptr<Masking>(const MaskGoal&)>;

struct Way {
  const char* name;
  Make make;
  bool takes_nm = true;
};

const Way kWays[] = {
    {"gradual", [](const MaskGoal& goal) { return gradual_masking({.goal = goal, .interval = 2}); }},
    {"taylor",
     [](const MaskGoal& goal) {
       return gradual_masking({.goal = goal, .score = GradualScore::kTaylor, .interval = 2});
     }},
    {"straight-through",
     [](const MaskGoal& goal) {
       return gradual_masking({.goal = goal, .interval = 1, .straight_through = true});
     }},
    {"movement", [](const MaskGoal& goal) { return movement_masking({.goal = goal}); }},
    {"movement from zero",
     [](const MaskGoal& goal) {
       return movement_masking({.goal = goal, .start = ScoreStart::kZero, .straight_through = true});
     }},
    {"movement from taylor",
     [](const MaskGoal& goal) {
       return movement_masking(
           {.goal = goal, .start = ScoreStart::kTaylor, .score_step = ScoreStep::kSgd, .score_rate = 0.1});
     }},
    {"soft",
     [](const MaskGoal& goal) {
       return movement_masking({.goal = goal, .rule = MaskRule::kSoft, .start = ScoreStart::kZero});
     },
     false},
};

TEST(MaskingTest, EveryWayEndsAtItsPatternWithItsCount) {
  for (const Way& way : kWays) {
    for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{4, 4})}) {
      if (std::holds_alternative<NM>(pattern) && !way.takes_nm) continue;
      SCOPED_TRACE(std::string(way.name) + " " + to_string(pattern));
      const Trace run = train(way.make(goal_of(pattern, 0.5)));
      for (const Mask& mask : run.masks.back()) {
        EXPECT_TRUE(satisfies(mask, pattern));
        if (std::string(way.name) == "soft") continue;
        EXPECT_EQ(mask.count(), mask.size() / 2);
      }
      EXPECT_EQ(kept(run.masks.back()), size_of(run.masks.back()) / 2);
      EXPECT_EQ(run.steps.front().sparsity, 0);
      EXPECT_EQ(run.steps.back().sparsity, 0.5);
      EXPECT_LT(run.steps.back().cross_entropy, run.steps.front().cross_entropy);
      // In the end masks stay, and weights learn under them.
      EXPECT_EQ(run.masks[kSteps - 5], run.masks.back());
    }
  }
}

TEST(MaskingTest, EveryWayEndsAtItsPatternInBf16) {
  for (const Way& way : kWays) {
    for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4})}) {
      if (std::holds_alternative<NM>(pattern) && !way.takes_nm) continue;
      SCOPED_TRACE(std::string(way.name) + " " + to_string(pattern));
      const Trace run = train(way.make(goal_of(pattern, 0.5)), Precision::kBf16);
      for (const Mask& mask : run.masks.back()) EXPECT_TRUE(satisfies(mask, pattern));
      EXPECT_EQ(kept(run.masks.back()), size_of(run.masks.back()) / 2);
      EXPECT_LT(run.steps.back().cross_entropy, run.steps.front().cross_entropy);
    }
  }
}

TEST(MaskingTest, OneThresholdForAllSharesTheCountOut) {
  for (const Way& way : kWays) {
    SCOPED_TRACE(way.name);
    const std::vector<Mask> masks =
        train(way.make(goal_of(Unstructured{}, 0.75, Scope::kGlobal))).masks.back();
    EXPECT_EQ(kept(masks), size_of(masks) - kept_count(size_of(masks), 0.25));
    EXPECT_TRUE(std::ranges::any_of(masks, [](const Mask& m) { return m.count() != m.size() / 4; }));
  }
}

TEST(MaskingTest, WhatGradualPruningTakesStaysAway) {
  for (const Way& way : std::span(kWays).first(2)) {
    for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{4, 4})}) {
      const Trace run = train(way.make(goal_of(pattern, 0.5)));
      int64_t before = size_of(run.masks[0]);
      for (size_t t = 1; t < run.masks.size(); ++t) {
        for (size_t i = 0; i < run.masks[t].size(); ++i)
          EXPECT_TRUE(is_subset(run.masks[t][i], run.masks[t - 1][i])) << way.name << " step " << t;
        EXPECT_LE(kept(run.masks[t]), before);
        before = kept(run.masks[t]);
      }
    }
  }
}

TEST(MaskingTest, LearnedMasksLetWeightsReturn) {
  for (const size_t way : {size_t(2), size_t(4)}) {
    const Trace run = train(kWays[way].make(goal_of(Unstructured{}, 0.5)));
    bool any = false;
    for (size_t t = 1; t < run.masks.size() && !any; ++t) {
      for (size_t i = 0; i < run.masks[t].size() && !any; ++i)
        any = !is_subset(run.masks[t][i], run.masks[t - 1][i]);
    }
    EXPECT_TRUE(any) << kWays[way].name;
  }
}

// With scores that hardly move the masks are those of what a training of the dense model measured.
TEST(MaskingTest, ScoresFromTaylorAreRootsOfMeanSquares) {
  const DecoderConfig config = testing::tiny_config("llama");
  TrainableModel model = testing::random_model(config, 5);
  ModelGradients gradients(model);
  const MaskedLinear linear{&model.layers[0].output, &gradients.layers[0].output};
  const auto masking = movement_masking({.goal = goal_of(Block{4, 4}, 0.5),
                                         .start = ScoreStart::kTaylor,
                                         .score_step = ScoreStep::kSgd,
                                         .score_rate = 1e-6});
  masking->begin(std::span(&linear, 1));
  const Index rows = linear.weight().rows() / 4, cols = linear.weight().cols() / 4;
  Matrix<double> worth = Matrix<double>::Zero(rows, cols);
  for (int64_t step = 0; step < 2; ++step) {
    masking->before_forward(step);
    for (Index i = 0; i < linear.slope().size(); ++i)
      linear.slope().data()[i] = float(std::sin(double(i * (step + 2))));
    const Matrix<double> product = linear.weight().cast<double>().cwiseProduct(linear.slope().cast<double>());
    for (Index i = 0; i < worth.size(); ++i)
      worth.data()[i] += std::pow(product.block(i / cols * 4, i % cols * 4, 4, 4).sum(), 2);
    masking->after_backward(step);
    masking->after_update();
  }
  masking->before_forward(2);
  masking->before_forward(kSteps);
  std::vector<double> sorted(worth.data(), worth.data() + worth.size());
  std::ranges::sort(sorted);
  const Mask mask = nonzero_mask(linear.weight());
  for (Index i = 0; i < worth.size(); ++i)
    EXPECT_EQ(mask(i / cols * 4, i % cols * 4), worth.data()[i] >= sorted[sorted.size() / 2]) << i;
}

TEST(MaskingTest, SoftMasksFollowTheSchedule) {
  const MaskGoal goal = goal_of(Unstructured{}, 0.75);
  for (const ScoreStart start : {ScoreStart::kZero, ScoreStart::kTaylor}) {
    const Trace run = train(movement_masking({.goal = goal,
                                              .rule = MaskRule::kSoft,
                                              .start = start,
                                              .score_step = ScoreStep::kSgd,
                                              .penalty = 1}));
    for (int64_t step = 0; step < kSteps; ++step)
      EXPECT_NEAR(run.steps[size_t(step)].sparsity, goal.schedule.at(step), 0.05) << step;
  }
}

TEST(MaskingTest, LeavesOtherTensorsDense) {
  MaskGoal goal = goal_of(NM{2, 4}, 0.5);
  const DecoderConfig config = testing::tiny_config("llama");
  goal.tensors = {testing::random_model(config, 5).layers[1].output.weight_name};
  int pruned = 0;
  const Trace run = train(movement_masking({.goal = goal}));
  for (const Mask& mask : run.masks.back()) pruned += 2 * mask.count() <= mask.size();
  // Random layers share their names.
  EXPECT_EQ(pruned, 2);
}

TEST(MaskingTest, ThePathToAnNmMaskTakesItsOwnLeastFirst) {
  Matrix<float> scores(1, 8);
  scores << 1, 2, 3, 4, 10, 20, 30, 5;
  MaskGoal goal = goal_of(NM{2, 4}, 0.5);
  const auto count = [&](double sparsity) { return choose_masks(goal, std::span(&scores, 1), sparsity)[0]; };
  EXPECT_EQ(count(0).count(), 8);
  const Mask half_way = count(0.25);
  EXPECT_EQ(half_way.count(), 6);
  EXPECT_FALSE(half_way(0, 0));
  EXPECT_FALSE(half_way(0, 1));
  EXPECT_TRUE(half_way(0, 2));  // less than 5, but its group keeps it
  EXPECT_EQ(count(0.375).count(), 5);
  EXPECT_FALSE(count(0.375)(0, 7));
  EXPECT_EQ(count(0.5), select(scores, NM{2, 4}, 0.5));
}

TEST(MaskingTest, RefusesWhatCannotBe) {
  const MaskGoal nm = goal_of(NM{2, 4}, 0.5);
  EXPECT_THROW(movement_masking({.goal = nm, .rule = MaskRule::kSoft}), Error);
  EXPECT_THROW(movement_masking({.goal = nm, .score_rate = 0}), Error);
  MaskGoal at_once = nm;
  at_once.schedule.warm_up = 0;
  EXPECT_THROW(movement_masking({.goal = at_once, .start = ScoreStart::kTaylor}), Error);
  EXPECT_THROW(gradual_masking({.goal = nm, .score = GradualScore::kTaylor, .straight_through = true}),
               Error);
  EXPECT_THROW(train(gradual_masking({.goal = goal_of(NM{2, 5}, 0.6)})), Error);
}

}  // namespace
}  // namespace prune
