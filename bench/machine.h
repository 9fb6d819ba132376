// What this machine can do at most, measured in the process that measures the kernels.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/sparse/buffer.h"

namespace prune::bench {

// The best of many trials, as other work on the machine hides its limits for a while.
class Roof {
 public:
  explicit Roof(double seconds);  // to look for so long
  void look_again();              // one trial more of each, some hundredths of a second
  // Bytes per second that all threads read together, from a buffer far larger than the last-level cache.
  double read_bandwidth() const { return read_bandwidth_; }
  // Multiply-adds per second on floats of all threads together, with the widest registers there are.
  double fma_peak() const { return fma_peak_; }

 private:
  kernels::Buffer data_;
  double read_bandwidth_ = 0;
  double fma_peak_ = 0;
};

// The sum of so many lines of 64 bytes, read as Roof reads one stream.
uint64_t sum_lines(const uint64_t* p, int64_t lines);

// Bytes of the last-level cache, at least 8 MiB where the system does not say.
int64_t last_level_cache();

// Each OpenMP thread on a processor of its own, of those that the process may use: one of each core first.
// Nothing where there are fewer processors than threads.
void pin_threads();

std::string processor_name();
int thread_count();

}  // namespace prune::bench
