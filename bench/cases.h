// Which cases a run measures.
#pragma once

#include "bench/machine.h"
#include "bench/options.h"

namespace prune::bench {

// Registers them; `roof` may be null, and lives as long as they. Throws std::runtime_error, or Error(kInput)
// of a checkpoint.
void add_cases(const Options& options, Roof* roof);

}  // namespace prune::bench
