// How many threads there may be.
#pragma once

namespace prune::app {

inline constexpr int kMostThreads = 1024;

// Finds out, before any work, whether the machine starts `threads` threads (0: as many as OpenMP would take):
// where it does not, OpenMP's runtime ends the process. Throws Error(kRuntime), and Error(kUsage) for more
// than kMostThreads out of the environment.
void require_threads(int threads);

}  // namespace prune::app
