// prune bench --gpu-table FILE: what a packed model's layers would take on a GPU, by measurements made there.
#pragma once

#include "apps/prune/command_line.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune::app {

void add_gpu_options(CommandLine& line);  // --gpu-table

// Prints the table or document, for these numbers of rows.
int report_gpu_choices(const CommandLine& line, const PackedCheckpoint& packed, const std::vector<int>& rows);

}  // namespace prune::app
