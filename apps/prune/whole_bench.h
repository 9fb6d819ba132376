// prune bench --whole MODEL: prefill and decoding of whole models, in turns.
#pragma once

#include "apps/prune/command_line.h"

namespace prune::app {

void add_whole_options(CommandLine& line);  // --whole, --beside, --prompt-tokens, --new-tokens, --rounds
// Throws Error(kUsage) where one of those is given without --whole.
void refuse_whole_options(const CommandLine& line);

// Prints the table or document.
int whole_bench_command(const CommandLine& line);

}  // namespace prune::app
