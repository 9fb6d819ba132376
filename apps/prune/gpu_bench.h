// prune bench --gpu-table FILE: what a packed model's layers would take on a GPU, by measurements made there.
#pragma once

#include "apps/prune/command_line.h"

namespace prune::app {

void add_gpu_options(CommandLine& line);  // --gpu-table

// Prints the table or document, for these numbers of rows.
int gpu_bench_command(const CommandLine& line, const std::vector<int>& rows);

}  // namespace prune::app
