#include "libprune/model/crossover.h"

#include <algorithm>
#include <bit>
#include <chrono>
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

}  // namespace

int64_t measure_crossover(int64_t out, int64_t in, const BatchProduct& few, const BatchProduct& many) {
  const int64_t most = kTried[std::size(kTried) - 1];
  std::vector<float> x(static_cast<size_t>(most * in)), y(static_cast<size_t>(most * out));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 31) - 15;
  int64_t from = kNever;
  for (size_t i = std::size(kTried); i-- > 0;) {
    const int64_t n = kTried[i];
    double few_seconds = std::numeric_limits<double>::infinity(), many_seconds = few_seconds;
    // In turns, so that other load hits both.
    for (int trial = 0; trial < kTrials; ++trial) {
      few_seconds = std::min(few_seconds, seconds_of([&] { few(x.data(), y.data(), n); }));
      many_seconds = std::min(many_seconds, seconds_of([&] { many(x.data(), y.data(), n); }));
    }
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
