#include "apps/prune/threads.h"

#include <fmt/format.h>
#include <omp.h>

#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune::app {

void require_threads(int threads) {
  const int wanted = threads > 0 ? threads : omp_get_max_threads();
  if (wanted > kMostThreads)
    throw_usage(fmt::format("OMP_NUM_THREADS={}: expected 1 to {}", wanted, kMostThreads));
  // All at once: that is how they will be needed.
  std::latch release(1);
  std::vector<std::jthread> started;
  int error = 0;
  try {
    while (int(started.size()) < wanted - 1) started.emplace_back([&] { release.wait(); });
  } catch (const std::system_error& fault) {
    error = fault.code().value();
  }
  release.count_down();
  if (error != 0) {
    throw_runtime(fmt::format("{} threads cannot be started, {} could: {}: give a smaller --threads", wanted,
                              started.size() + 1, system_reason(error)));
  }
}

}  // namespace prune::app
