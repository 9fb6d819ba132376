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
namespace {

// Threads that all live until this ends, whatever ends it: those that still waited could not be joined.
class WaitingThreads {
 public:
  ~WaitingThreads() { release_.count_down(); }
  void start() {
    threads_.emplace_back([this] { release_.wait(); });
  }
  int count() const { return int(threads_.size()); }

 private:
  std::latch release_{1};
  std::vector<std::jthread> threads_;  // joined first, once released
};

}  // namespace

void require_threads(int threads) {
  const int wanted = threads > 0 ? threads : omp_get_max_threads();
  if (wanted > kMostThreads)
    throw_usage(fmt::format("OMP_NUM_THREADS={}: expected 1 to {}", wanted, kMostThreads));
  // All at once: that is how they will be needed.
  WaitingThreads started;
  try {
    while (started.count() < wanted - 1) started.start();
  } catch (const std::system_error& fault) {
    throw_runtime(fmt::format("{} threads cannot be started, {} could: {}: give a smaller --threads", wanted,
                              started.count() + 1, system_reason(fault.code().value())));
  }
}

}  // namespace prune::app
