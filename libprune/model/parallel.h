// A parallel loop that exceptions can leave.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>

#include <omp.h>

namespace prune {

// Calls body(i) for i in [0, n), in ascending order of start, from up to `threads` threads (0: all). After a
// call throws, no more are started; the first exception is thrown again here.
template <class Body>
void parallel_for(size_t n, int threads, Body&& body) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::exception_ptr fault;
  const int team = threads > 0 ? threads : omp_get_max_threads();
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

}  // namespace prune
