// prune --pattern channels|heads|layers|experts|mixed: whole units out, a smaller dense model.
#pragma once

#include <string>

#include "apps/prune/command_line.h"
#include "libprune/model/structured/structured_options.h"

namespace prune::app {

// Options of structured pruning alone, and their part of the help.
void add_structured_options(CommandLine& line);
std::string structured_help();
// Throws Error(kUsage) where one of them is given with a pattern of weights.
void refuse_structured_options(const CommandLine& line, const std::string& pattern);

// Runs the pass for a command line whose pattern is of units.
int prune_structured(const CommandLine& line, UnitKind units);

}  // namespace prune::app
