// prune bench --shape: a packed checkpoint of random weights, as if it had been pruned.
#pragma once

#include <filesystem>

#include "apps/prune/command_line.h"
#include "apps/prune/temporary_folder.h"

namespace prune::app {

void add_shape_options(CommandLine& line);           // --shape, --pattern, --sparsity, --type
void refuse_shape_options(const CommandLine& line);  // that go with --shape, where it is not given

// Normally distributed weights of every --shape, more than a last-level cache holds, pruned by magnitude and
// packed in `folder` by the passes of 'prune' and 'prune pack'. Returns the packed file. Throws
// Error(kUsage).
std::filesystem::path write_random_layers(const CommandLine& line, const TemporaryFolder& folder);

}  // namespace prune::app
