// prune bench --compare OLD NEW.
#pragma once

#include "apps/prune/command_line.h"

namespace prune::app {

void add_compare_options(CommandLine& line);  // --compare, --fail-below, --counter

// Prints the comparison; kMismatch where a case regressed below --fail-below.
int compare_command(const CommandLine& line);

}  // namespace prune::app
