// What this machine can do at most, measured in the process that measures the kernels.
#pragma once

#include <cstdint>
#include <string>

namespace prune::bench {

// Bytes per second that all threads read together from memory (buffers far larger than the last-level cache).
double read_bandwidth();

// Multiply-adds per second on floats of all threads together, with the widest registers there are.
double fma_peak();

// Bytes of the last-level cache, at least 8 MiB where the system does not say.
int64_t last_level_cache();

// Each OpenMP thread on a processor of its own, of those that the process may use: one of each core first.
// Nothing where there are fewer processors than threads.
void pin_threads();

std::string processor_name();
int thread_count();

}  // namespace prune::bench
