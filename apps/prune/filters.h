// What --include and --exclude found.
#pragma once

#include <string>
#include <vector>

#include "libprune/io/checkpoint.h"

namespace prune::app {

// Every pattern that changes nothing is told on stderr, with the reason, unless `quiet`: it matches no
// tensor, or only tensors that can't be worked on (--include), or that would be left alone anyway
// (--exclude). Throws Error(kInput) when no --include is left, Error(kUsage) for a pattern that does not
// parse.
void report_filters(const Checkpoint& checkpoint, const std::vector<std::string>& include,
                    const std::vector<std::string>& exclude, bool quiet);

}  // namespace prune::app
