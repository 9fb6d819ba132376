// Magnitude pruning of a whole checkpoint, streaming: a tensor at a time, shard by shard.
#pragma once

#include <filesystem>

#include <prune/report.h>

#include "libprune/io/staging.h"
#include "libprune/model/progress.h"
#include "libprune/model/prune_plan.h"

namespace prune {

// Reads through the page cache and writes as it goes: beside one tensor's mask (a bit a weight) and a few
// megabytes a thread nothing is held, so a checkpoint larger than memory works. Only a tensor that is
// misaligned in its file or stored [in, out] is copied whole. Scope::kGlobal reads all weights to find the
// threshold first. Throws Error, or Interrupted; the output then does not exist.
PruneReport prune_by_magnitude(const Checkpoint& checkpoint, const PrunePlan& plan,
                               const std::filesystem::path& output, StagingOptions options,
                               const Progress& progress);

}  // namespace prune
