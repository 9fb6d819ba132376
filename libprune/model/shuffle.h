// A reproducible order of things.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace prune {

// Endless numbers from [0, count): all of them in a random order, then all in another, the same on every
// machine for one seed.
class Shuffle {
 public:
  Shuffle(int64_t count, uint64_t seed)
      : order_(static_cast<size_t>(count)), rng_(seed), next_(order_.size()) {
    std::iota(order_.begin(), order_.end(), int64_t(0));
  }

  int64_t next() {
    if (next_ == order_.size()) {
      // Fisher-Yates by hand: std::shuffle's result differs between libraries.
      for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng_() % i]);
      next_ = 0;
    }
    return order_[next_++];
  }

 private:
  std::vector<int64_t> order_;
  std::mt19937_64 rng_;
  size_t next_;
};

}  // namespace prune
