// Pruning while training: the methods movement and gradual.
#pragma once

#include "libprune/model/method.h"

namespace prune {

// A PrunePass: trains on the plan's text under masks that become sparser, and writes what came out.
PruneReport prune_trained(const Checkpoint& checkpoint, const PrunePlan& plan,
                          const std::filesystem::path& output, StagingOptions options,
                          const Progress& progress);

// Throws Error(kUsage) for options that the method can't mean.
void check_trained(const PruneOptions& options);

}  // namespace prune
