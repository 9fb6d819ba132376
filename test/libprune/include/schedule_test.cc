#include <prune/schedule.h>

#include <gtest/gtest.h>

namespace prune {
namespace {

TEST(CubicSchedule, HasItsCorners) {
  const CubicSchedule sparsity{.first = 0.1, .last = 0.9, .steps = 100, .warm_up = 20, .cool_down = 30};
  EXPECT_EQ(sparsity.at(0), 0.1);
  EXPECT_EQ(sparsity.at(20), 0.1);
  EXPECT_GT(sparsity.at(21), 0.1);
  EXPECT_DOUBLE_EQ(sparsity.at(45), 0.9 - 0.8 / 8);    // half of the way: (1/2)^3 of the distance is left
  EXPECT_DOUBLE_EQ(sparsity.at(60), 0.9 - 0.8 / 125);  // four fifths
  EXPECT_LT(sparsity.at(69), 0.9);
  EXPECT_EQ(sparsity.at(70), 0.9);
  EXPECT_EQ(sparsity.at(100), 0.9);
  EXPECT_EQ(sparsity.at(1000000), 0.9);
}

TEST(CubicSchedule, MayHaveNoPhaseOrNothingElse) {
  EXPECT_EQ((CubicSchedule{.first = 0, .last = 0.5, .steps = 10}).at(0), 0);
  EXPECT_EQ((CubicSchedule{.first = 0, .last = 0.5, .steps = 10}).at(10), 0.5);
  const CubicSchedule jump{.first = 0, .last = 0.5, .steps = 10, .warm_up = 4, .cool_down = 6};
  EXPECT_EQ(jump.at(3), 0);
  EXPECT_EQ(jump.at(4), 0.5);
  EXPECT_EQ((CubicSchedule{.first = 0, .last = 0.5, .steps = 0}).at(0), 0.5);
  EXPECT_THROW((CubicSchedule{.steps = 10, .warm_up = 4, .cool_down = 7}).at(0), Error);
  EXPECT_THROW((CubicSchedule{.steps = 10, .warm_up = -1}).at(0), Error);
}

TEST(GradualSchedule, StandsStillBetweenPrunings) {
  const GradualSchedule sparsity{.first = 0, .last = 0.8, .begin = 10, .interval = 5, .prunings = 4};
  EXPECT_EQ(sparsity.at(0), 0);
  EXPECT_EQ(sparsity.at(14), 0);
  EXPECT_DOUBLE_EQ(sparsity.at(15), 0.8 - 0.8 * 27 / 64);
  EXPECT_EQ(sparsity.at(19), sparsity.at(15));
  EXPECT_DOUBLE_EQ(sparsity.at(20), 0.7);
  EXPECT_LT(sparsity.at(29), 0.8);
  EXPECT_EQ(sparsity.at(30), 0.8);
  EXPECT_EQ(sparsity.at(1000), 0.8);
  std::vector<int64_t> steps;
  for (int64_t step = 0; step < 100; ++step) {
    if (sparsity.prunes_at(step)) steps.push_back(step);
  }
  EXPECT_EQ(steps, (std::vector<int64_t>{10, 15, 20, 25, 30}));
  EXPECT_THROW((GradualSchedule{.interval = 0}).at(0), Error);
}

TEST(LearningRate, RisesAndFalls) {
  LearningRate rate{.peak = 0.4, .steps = 20, .warm_up = 4, .decay = Decay::kLinear, .last = 0.1};
  EXPECT_EQ(rate.at(0), 0.1);
  EXPECT_EQ(rate.at(3), 0.4);
  EXPECT_EQ(rate.at(4), 0.4);
  EXPECT_DOUBLE_EQ(rate.at(12), 0.25);
  EXPECT_EQ(rate.at(20), 0.1);
  EXPECT_EQ(rate.at(21), 0.1);
  rate.decay = Decay::kCosine;
  EXPECT_EQ(rate.at(4), 0.4);
  EXPECT_DOUBLE_EQ(rate.at(8), 0.1 + 0.3 * (1 + std::sqrt(0.5)) / 2);
  EXPECT_DOUBLE_EQ(rate.at(12), 0.25);
  EXPECT_EQ(rate.at(20), 0.1);
  rate.decay = Decay::kNone;
  EXPECT_EQ(rate.at(1), 0.2);
  EXPECT_EQ(rate.at(1000), 0.4);
  EXPECT_EQ((LearningRate{.peak = 1, .steps = 5}).at(0), 1);
  EXPECT_THROW((LearningRate{.peak = 1, .steps = 5, .warm_up = 6}).at(0), Error);
}

}  // namespace
}  // namespace prune
