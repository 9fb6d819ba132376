#include "apps/prune/timing.h"

#include <gtest/gtest.h>

namespace prune::app {
namespace {

// `count` passes over two weights that take 1 and 3 ms, each with what `extra` adds to it.
template <class Extra>
Passes passes(size_t count, Extra&& extra) {
  Passes result;
  for (size_t i = 0; i < count; ++i) result.push_back({0.001 + extra(i), 0.003 + extra(i + 1)});
  return result;
}

TEST(Timing, IsTheShortestOfEachWeightAndTheirMean) {
  const Timing timing = evaluate(passes(40, [](size_t i) { return i % 3 == 0 ? 0.0 : 0.010; }));
  EXPECT_DOUBLE_EQ(timing.seconds, 0.002);
  EXPECT_DOUBLE_EQ(timing.spread, 0);
  EXPECT_TRUE(timing.is_steady());
}

// Barriers that stall for ten milliseconds, most of the time: what is left tells the time.
TEST(Timing, StallsThatLeaveSomeSamplesAloneDoNotCount) {
  const Timing stalled =
      evaluate(passes(64, [](size_t i) { return i % 8 == 0 ? 0.0 : 0.008 + 1e-4 * double(i); }));
  EXPECT_DOUBLE_EQ(stalled.seconds, 0.002);
  EXPECT_TRUE(stalled.is_steady());
}

TEST(Timing, StallsThatSwallowHalfOfTheSeriesAreUnsteady) {
  const auto stalled_for = [](size_t passes_of_64) {
    return evaluate(passes(64, [=](size_t i) { return i < passes_of_64 ? 0.008 : 0.0; }));
  };
  EXPECT_TRUE(stalled_for(30).is_steady());
  EXPECT_DOUBLE_EQ(stalled_for(42).seconds, 0.002);
  EXPECT_NEAR(stalled_for(42).spread, 4.0, 1e-9);
  EXPECT_FALSE(stalled_for(42).is_steady());
}

// A machine that grows busier all the time shows no time twice.
TEST(Timing, StallsThatGrowAreUnsteady) {
  EXPECT_FALSE(evaluate(passes(kLeastPasses, [](size_t i) { return 0.0002 * double(i); })).is_steady());
}

TEST(Timing, TheLimitIsWhereItIsSaidToBe) {
  const auto slower_later = [](double by) {
    return evaluate(
        passes(kLeastPasses, [by](size_t i) { return i >= kLeastPasses / 2 ? 0.002 * by : 0.0; }));
  };
  EXPECT_TRUE(slower_later(0.9 * kSteady).is_steady());
  EXPECT_FALSE(slower_later(1.1 * kSteady).is_steady());
}

TEST(Speedup, IsToldOfTwoSteadyTimesAlone) {
  const Timing fast{0.001, 0.02}, slow{0.003, 0.05}, broken{0.648, 0.5};
  EXPECT_DOUBLE_EQ(speedup(slow, fast).value(), 3);
  EXPECT_DOUBLE_EQ(speedup(fast, slow).value(), 1.0 / 3);
  EXPECT_EQ(speedup(broken, fast), std::nullopt);
  EXPECT_EQ(speedup(fast, broken), std::nullopt);
  EXPECT_DOUBLE_EQ(spread(slow, fast), 0.07);
}

TEST(Timing, FivePartsOfEightHaveToAgree) {
  const auto agreeing = [](size_t parts) {
    return evaluate(passes(64, [=](size_t i) { return i < 8 * parts ? 0.0 : 0.002; }));
  };
  EXPECT_TRUE(agreeing(5).is_steady());
  EXPECT_FALSE(agreeing(4).is_steady());
}

TEST(Faster, IsSaidBeyondTheSpreadOnly) {
  const auto of = [](double ratio, double spread) {
    return faster({0.001 * ratio, spread / 2}, {0.001, spread / 2});
  };
  EXPECT_EQ(of(1.02, 0.01), "sparse");
  EXPECT_EQ(of(1.02, 0.15), "either");
  EXPECT_EQ(of(1.2, 0.15), "sparse");
  EXPECT_EQ(of(0.98, 0.15), "either");
  EXPECT_EQ(of(0.98, 0.01), "dense");
  EXPECT_EQ(of(1, 0), "either");
  EXPECT_EQ(faster({0.003, 0.5}, {0.001, 0}), "-");
}

}  // namespace
}  // namespace prune::app
