// Which of several ways to compute one product is the fastest here.
#pragma once

#include <chrono>
#include <cstddef>
#include <limits>

namespace prune::bench {

// The index below `count` whose `run(index)` took the shortest of `trials` times, after one that is not
// counted.
template <class Run>
size_t fastest(size_t count, int trials, Run&& run) {
  size_t best = 0;
  double shortest = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < count; ++i) {
    run(i);
    for (int trial = 0; trial < trials; ++trial) {
      const auto start = std::chrono::steady_clock::now();
      run(i);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (seconds >= shortest) continue;
      shortest = seconds;
      best = i;
    }
  }
  return best;
}

}  // namespace prune::bench
