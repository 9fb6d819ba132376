#include "libprune/model/crossover.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <iterator>
#include <vector>

#include "libprune/model/elapsed.h"

namespace prune {
namespace {

constexpr int64_t kTried[] = {4, 8, 16, 32, 64, 128, 256, 512};
constexpr int kTrials = 5;
// What is not faster by as much is no reason to change over.
constexpr double kClearly = 0.95;

template <class Run>
double seconds_of(Run&& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return seconds_since(start);
}

std::vector<float> some_inputs(int64_t count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 31) - 15;
  return x;
}

// The shortest times of a few, in turns, so that other load hits both.
BatchTimes measure(const std::vector<float>& x, std::vector<float>& y, int64_t n, const BatchProduct& few,
                   const BatchProduct& many) {
  const double never = std::numeric_limits<double>::infinity();
  BatchTimes t{n, never, never};
  for (int trial = 0; trial < kTrials; ++trial) {
    t.few = std::min(t.few, seconds_of([&] { few(x.data(), y.data(), n); }));
    t.many = std::min(t.many, seconds_of([&] { many(x.data(), y.data(), n); }));
  }
  return t;
}

}  // namespace

int64_t least_regret(std::span<const BatchTimes> times) {
  // Sums of logarithms: of `few` for the batches before a threshold, of `many` for those from it on.
  double cost = 0;
  for (const BatchTimes& t : times) cost += std::log(t.few);
  double least = cost;
  int64_t from = kNever;
  for (size_t i = times.size(); i-- > 0;) {
    cost += std::log(times[i].many / kClearly) - std::log(times[i].few);
    if (cost >= least) continue;
    least = cost;
    from = times[i].n;
  }
  return from;
}

int64_t measure_crossover(int64_t out, int64_t in, const BatchProduct& few, const BatchProduct& many) {
  const int64_t most = kTried[std::size(kTried) - 1];
  const std::vector<float> x = some_inputs(most * in);
  std::vector<float> y(static_cast<size_t>(most * out));
  std::vector<BatchTimes> times;
  for (const int64_t n : kTried) times.push_back(measure(x, y, n, few, many));
  return least_regret(times);
}

bool is_clearly_faster(int64_t out, int64_t in, int64_t n, const BatchProduct& way,
                       const BatchProduct& other) {
  const std::vector<float> x = some_inputs(n * in);
  std::vector<float> y(static_cast<size_t>(n * out));
  const BatchTimes times = measure(x, y, n, other, way);
  return times.many < kClearly * times.few;
}

std::string shape_kind(int64_t out, int64_t in) {
  const auto power = [](int64_t size) { return std::to_string(std::bit_width(static_cast<uint64_t>(size))); };
  return "2^" + power(out) + "x2^" + power(in);
}

}  // namespace prune
