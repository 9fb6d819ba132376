#include "libprune/model/runtime/sampler.h"

#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <prune/error.h>

namespace prune {
namespace {

constexpr int kDraws = 20000;
const std::vector<float> kLogits{std::log(0.1F), std::log(0.4F), std::log(0.3F), std::log(0.15F),
                                 std::log(0.05F)};

// How often each token is drawn.
std::map<int32_t, double> shares(const SamplingOptions& options) {
  Sampler sampler(options, 0);
  std::map<int32_t, double> shares;
  for (int i = 0; i < kDraws; ++i) shares[sampler.choose(kLogits)] += 1.0 / kDraws;
  return shares;
}

void expect_shares(const SamplingOptions& options, const std::map<int32_t, double>& expected) {
  const auto got = shares(options);
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [id, share] : expected) EXPECT_NEAR(got.at(id), share, 0.015) << id;
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  Sampler sampler({}, 0);
  EXPECT_EQ(sampler.choose(kLogits), 1);
  const float equal[] = {1, 2, 2};
  EXPECT_EQ(sampler.choose(equal), 1);
}

TEST(Sampler, DrawsByProbability) {
  expect_shares({.temperature = 1}, {{0, 0.1}, {1, 0.4}, {2, 0.3}, {3, 0.15}, {4, 0.05}});
}

TEST(Sampler, TemperatureSharpens) {
  // Proportional to squares: 0.01, 0.16, 0.09, 0.0225, 0.0025 of 0.285.
  expect_shares({.temperature = 0.5}, {{0, 0.0351}, {1, 0.5614}, {2, 0.3158}, {3, 0.0789}, {4, 0.0088}});
}

TEST(Sampler, TopKAndTopP) {
  expect_shares({.temperature = 1, .top_k = 2}, {{1, 4.0 / 7}, {2, 3.0 / 7}});
  // 0.4 and 0.3 are less than 0.8, with 0.15 it is reached.
  expect_shares({.temperature = 1, .top_p = 0.8}, {{1, 0.4 / 0.85}, {2, 0.3 / 0.85}, {3, 0.15 / 0.85}});
  // Of the three most probable, whose probabilities are then 0.47, 0.35 and 0.18.
  expect_shares({.temperature = 1, .top_k = 3, .top_p = 0.8}, {{1, 4.0 / 7}, {2, 3.0 / 7}});
  expect_shares({.temperature = 1, .top_p = 0.01}, {{1, 1}});
  expect_shares({.temperature = 1, .top_k = 100}, shares({.temperature = 1}));
}

TEST(Sampler, TheDrawsOfASeedAreTheSameEverywhere) {
  Sampler sampler({.temperature = 1, .seed = 42}, 1);
  std::vector<int32_t> drawn;
  for (int i = 0; i < 12; ++i) drawn.push_back(sampler.choose(kLogits));
  EXPECT_THAT(drawn, ::testing::ElementsAre(3, 3, 1, 1, 1, 1, 3, 2, 1, 0, 1, 0));
}

TEST(Sampler, RefusesWhatCannotBe) {
  for (const SamplingOptions& options : {SamplingOptions{.temperature = -0.1},
                                         {.temperature = NAN},
                                         {.temperature = INFINITY},
                                         {.top_k = -1},
                                         {.top_p = 0},
                                         {.top_p = 1.1},
                                         {.top_p = NAN}}) {
    EXPECT_THROW(Sampler(options, 0), Error);
  }
}

}  // namespace
}  // namespace prune
