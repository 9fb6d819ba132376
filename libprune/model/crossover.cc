#include "libprune/model/crossover.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <iterator>
#include <vector>

#include "libprune/model/elapsed.h"

namespace prune {
namespace {

constexpr int64_t kTried[] = {4, 8, 16, 32, 64, 128, 256};
constexpr int kTrials = 5;
// What is not faster by as much is no reason to change over.
constexpr double kClearly = 0.95;

template <class Run>
double shortest_seconds(Run&& run) {
  double best = std::numeric_limits<double>::infinity();
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    run();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

}  // namespace

int64_t measure_crossover(int64_t out, int64_t in, const BatchProduct& few, const BatchProduct& many) {
  const int64_t most = kTried[std::size(kTried) - 1];
  std::vector<float> x(static_cast<size_t>(most * in)), y(static_cast<size_t>(most * out));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 31) - 15;
  int64_t from = kNever;
  for (size_t i = std::size(kTried); i-- > 0;) {
    const int64_t n = kTried[i];
    const double few_seconds = shortest_seconds([&] { few(x.data(), y.data(), n); });
    const double many_seconds = shortest_seconds([&] { many(x.data(), y.data(), n); });
    if (many_seconds >= kClearly * few_seconds) break;
    from = n;
  }
  return from;
}

std::string shape_kind(int64_t out, int64_t in) {
  const auto power = [](int64_t size) { return std::to_string(std::bit_width(static_cast<uint64_t>(size))); };
  return "2^" + power(out) + "x2^" + power(in);
}

}  // namespace prune
