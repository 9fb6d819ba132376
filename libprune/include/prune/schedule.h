// What changes from step to step of training: sparsity, thresholds, learning rates.
//
// Steps count from 0. A schedule is a few numbers and a function of the step, so that a training that goes on
// after a break needs nothing but its step.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include <prune/error.h>

namespace prune {

namespace detail {

// last + (first - last) (1 - done)^3, and exactly `first` and `last` at the ends, for done = part / whole.
inline double cubic(double first, double last, int64_t part, int64_t whole) {
  if (part >= whole) return last;
  if (part <= 0) return first;
  const double left = 1 - double(part) / double(whole);
  return last + (first - last) * left * left * left;
}

// warm_up + cool_down <= steps, and nothing negative.
inline void require_phases(const char* what, int64_t warm_up, int64_t cool_down, int64_t steps) {
  if (warm_up >= 0 && cool_down >= 0 && warm_up <= steps && cool_down <= steps - warm_up) return;
  throw_usage(std::string(what) + ": warm-up of " + std::to_string(warm_up) + " and cool-down of " +
              std::to_string(cool_down) + " steps don't fit into " + std::to_string(steps));
}

}  // namespace detail

// The cubic schedule of movement pruning: `first` for `warm_up` steps, then
//
//   last + (first - last) (1 - (t - warm_up) / (steps - warm_up - cool_down))^3,
//
// and `last` from step `steps - cool_down` on, beyond `steps` too. For a sparsity from 0 to its goal, or the
// threshold of a soft mask. Sanh, Wolf, Rush, "Movement Pruning: Adaptive Sparsity by Fine-Tuning",
// arXiv 2005.07683.
struct CubicSchedule {
  double first = 0;
  double last = 0.5;
  int64_t steps = 0;
  int64_t warm_up = 0;
  int64_t cool_down = 0;

  // Throws Error(kUsage) where warm-up and cool-down don't fit into the steps.
  double at(int64_t step) const {
    detail::require_phases("cubic schedule", warm_up, cool_down, steps);
    if (step < warm_up) return first;
    return detail::cubic(first, last, step - warm_up, steps - warm_up - cool_down);
  }
};

// Gradual pruning: the sparsity rises at steps begin, begin + interval, ..., begin + prunings * interval to
//
//   last + (first - last) (1 - k / prunings)^3   at the k-th of these, from 0,
//
// and stands still between, so that the network recovers. `first` before. Zhu, Gupta, "To Prune, or Not to
// Prune: Exploring the Efficacy of Pruning for Model Compression", arXiv 1710.01878.
struct GradualSchedule {
  double first = 0;
  double last = 0.5;
  int64_t begin = 0;
  int64_t interval = 1;
  int64_t prunings = 0;

  // Throws Error(kUsage) for an interval below 1 or a negative number of prunings.
  double at(int64_t step) const {
    require_valid();
    return step < begin ? first : detail::cubic(first, last, (step - begin) / interval, prunings);
  }

  // True at the steps where a new mask is due.
  bool prunes_at(int64_t step) const {
    require_valid();
    return step >= begin && (step - begin) % interval == 0 && (step - begin) / interval <= prunings;
  }

 private:
  void require_valid() const {
    if (interval >= 1 && prunings >= 0) return;
    throw_usage("gradual schedule: expected an interval of 1 or more steps, and prunings not negative, got " +
                std::to_string(interval) + " and " + std::to_string(prunings));
  }
};

enum class Decay { kNone, kLinear, kCosine };

// A learning rate that rises in equal steps, peak / warm_up, 2 peak / warm_up, ..., to its peak, and falls to
// `last` at step `steps`, where it stays: on a line, or on half a cosine (Loshchilov, Hutter, "SGDR",
// arXiv 1608.03983, without restarts).
struct LearningRate {
  double peak = 0;
  int64_t steps = 0;
  int64_t warm_up = 0;
  Decay decay = Decay::kCosine;
  double last = 0;

  // Throws Error(kUsage) where the warm-up does not fit into the steps.
  double at(int64_t step) const {
    detail::require_phases("learning rate", warm_up, 0, steps);
    if (step < warm_up) return peak * double(std::max<int64_t>(step, 0) + 1) / double(warm_up);
    if (decay == Decay::kNone) return peak;
    if (step >= steps) return last;
    const double done = double(step - warm_up) / double(steps - warm_up);
    constexpr double kPi = 3.14159265358979323846;
    const double left = decay == Decay::kLinear ? 1 - done : (1 + std::cos(kPi * done)) / 2;
    return last + (peak - last) * left;
  }
};

}  // namespace prune
