#include "libprune/model/train/adam.h"

#include <cmath>

#include <gmock/gmock.h>

namespace prune {
namespace {

TEST(Adam, EqualsTheFormulaStepByStep) {
  std::vector<float> values = {1, -2, 0.5F}, gradient(3);
  const AdamOptions options{.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-3, .weight_decay = 0.1};
  Adam adam(options);
  const Parameter parameter{"w", values, gradient};
  double w[] = {1, -2, 0.5}, m[3] = {}, v[3] = {};
  for (int t = 1; t <= 5; ++t) {
    const double rate = 0.1 / t;
    for (int i = 0; i < 3; ++i) gradient[size_t(i)] = float(w[i] * (i + 1) - t);
    adam.step({&parameter, 1}, rate);
    for (int i = 0; i < 3; ++i) {
      const double g = double(gradient[size_t(i)]);
      m[i] = 0.8 * m[i] + 0.2 * g;
      v[i] = 0.9 * v[i] + 0.1 * g * g;
      const double step = m[i] / (1 - std::pow(0.8, t)) / (std::sqrt(v[i] / (1 - std::pow(0.9, t))) + 1e-3);
      w[i] -= rate * (step + 0.1 * w[i]);
      EXPECT_NEAR(values[size_t(i)], w[i], 1e-5) << "step " << t;
      w[i] = double(values[size_t(i)]);
    }
  }
  EXPECT_EQ(adam.steps(), 5);
}

TEST(Adam, ScalesGradientsAsIfTheyHadBeenMultiplied) {
  for (const bool is_lamb : {false, true}) {
    std::vector<float> values = {1, -2, 0.5F}, same = values, gradient = {0.25F, -3, 8}, scaled = gradient;
    for (float& g : scaled) g *= 0.125F;
    Adam adam({.weight_decay = 0.1, .is_lamb = is_lamb}), other({.weight_decay = 0.1, .is_lamb = is_lamb});
    const Parameter parameter{"w", values, gradient}, expected{"w", same, scaled};
    for (int t = 0; t < 3; ++t) {
      adam.step({&parameter, 1}, 0.1, 0.125);
      other.step({&expected, 1}, 0.1);
      EXPECT_EQ(values, same) << "step " << t;
    }
    EXPECT_EQ(gradient[2], 8);
  }
}

TEST(Adam, LeavesPrunedWeightsAtZero) {
  std::vector<float> values = {0, 3}, gradient = {0, 1};
  Adam adam({.weight_decay = 0.1});
  const Parameter parameter{"w", values, gradient};
  for (int t = 0; t < 10; ++t) adam.step({&parameter, 1}, 0.1);
  EXPECT_EQ(values[0], 0);
  EXPECT_FALSE(std::signbit(values[0]));
  EXPECT_LT(values[1], 2.2F);
}

}  // namespace
}  // namespace prune
