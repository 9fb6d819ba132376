// A parallel loop that exceptions can leave.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>

#include <omp.h>

#include "libprune/model/memory_budget.h"

namespace prune {

// What the copies that threads make of tensors may take together, however many threads there are.
inline constexpr size_t kWorkingMemory = size_t(768) << 20;

// While it lives, parallel regions of this thread have so many threads (0: as before).
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : before_(omp_get_max_threads()) {
    if (threads > 0) omp_set_num_threads(threads);
  }
  ~ThreadCount() { omp_set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

// Calls body(i) for i in [0, n), in ascending order of start, from up to `threads` threads (0: all). After a
// call throws, no more are started; the first exception is thrown again here.
template <class Body>
void parallel_for(size_t n, int threads, Body&& body) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::exception_ptr fault;
  // Always all of them: libgomp ends and starts threads where one team is smaller than the next.
  const int team = n > 1 ? (threads > 0 ? threads : omp_get_max_threads()) : 1;
#pragma omp parallel num_threads(team)
  for (size_t i = next++; i < n && !failed; i = next++) {
    try {
      body(i);
    } catch (...) {
      if (!failed.exchange(true)) fault = std::current_exception();
    }
  }
  if (fault) std::rethrow_exception(fault);
}

// The same for bodies that need memory: bytes(i) says how much. Bodies that would need more than
// kWorkingMemory together wait for each other; one that needs more by itself runs while no other does.
template <class Bytes, class Body>
void parallel_for(size_t n, int threads, Bytes&& bytes, Body&& body) {
  MemoryBudget budget(kWorkingMemory);
  parallel_for(n, threads, [&](size_t i) {
    const MemoryBudget::Lease memory = budget.take(bytes(i));
    body(i);
  });
}

}  // namespace prune
