// Which cases a run measures.
#pragma once

#include "bench/options.h"

namespace prune::bench {

// Registers them. Throws std::runtime_error, or Error(kInput) of a checkpoint.
void add_cases(const Options& options);

}  // namespace prune::bench
