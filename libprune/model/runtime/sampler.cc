#include "libprune/model/runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include <prune/error.h>

namespace prune {
namespace {

// Uniform in [0, 1), the same with every standard library.
double uniform(std::mt19937_64& random) { return double(random() >> 11) * 0x1p-53; }

}  // namespace

Sampler::Sampler(const SamplingOptions& options, uint64_t stream) : options_(options) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature))
    throw_usage("temperature " + std::to_string(options.temperature) + ": expected at least 0");
  if (options.top_k < 0) throw_usage("top-k " + std::to_string(options.top_k) + ": expected at least 0");
  if (!(options.top_p > 0 && options.top_p <= 1))
    throw_usage("top-p " + std::to_string(options.top_p) + ": expected above 0, at most 1");
  std::seed_seq words{uint32_t(options.seed), uint32_t(options.seed >> 32), uint32_t(stream),
                      uint32_t(stream >> 32)};
  random_.seed(words);
}

int32_t Sampler::choose(std::span<const float> logits) {
  if (options_.temperature == 0) return int32_t(std::ranges::max_element(logits) - logits.begin());
  return draw(logits);
}

int32_t Sampler::draw(std::span<const float> logits) {
  const size_t n = logits.size();
  const size_t most = options_.top_k == 0 ? n : std::min(n, size_t(options_.top_k));
  order_.resize(n);
  std::iota(order_.begin(), order_.end(), 0);
  const auto more_probable = [&](int32_t a, int32_t b) {
    return logits[size_t(a)] != logits[size_t(b)] ? logits[size_t(a)] > logits[size_t(b)] : a < b;
  };
  if (most < n || options_.top_p < 1)  // else any order does, and sorting would take most of the time
    std::partial_sort(order_.begin(), order_.begin() + std::ptrdiff_t(most), order_.end(), more_probable);
  shares_.resize(most);
  const double largest = double(*std::ranges::max_element(logits));
  for (size_t i = 0; i < most; ++i)
    shares_[i] = std::exp((double(logits[size_t(order_[i])]) - largest) / options_.temperature);
  const double nucleus = options_.top_p * std::accumulate(shares_.begin(), shares_.end(), 0.0);
  size_t kept = 0;
  double sum = 0;
  while (kept < most && (kept == 0 || sum < nucleus)) sum += shares_[kept++];
  double left = uniform(random_) * sum;
  for (size_t i = 0; i + 1 < kept; ++i) {
    if (left < shares_[i]) return order_[i];
    left -= shares_[i];
  }
  return order_[kept - 1];
}

}  // namespace prune
