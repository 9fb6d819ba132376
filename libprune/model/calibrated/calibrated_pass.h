// Pruning a checkpoint with the inputs that its layers see on some text.
#pragma once

#include <filesystem>

#include <prune/report.h>

#include "libprune/io/staging.h"
#include "libprune/model/calibrated/layer_method.h"
#include "libprune/model/progress.h"
#include "libprune/model/prune_plan.h"

namespace prune {

// The method of layer_methods() that the plan names, decoder layer after decoder layer: a layer's inputs are
// those that the pruned layers before it make of the text. All is computed before the first shard is written;
// pruned weights wait in the checkpoint's types. Throws Error, or Interrupted; the output then does not
// exist.
PruneReport prune_calibrated(const Checkpoint& checkpoint, const PrunePlan& plan,
                             const std::filesystem::path& output, StagingOptions options,
                             const Progress& progress);

}  // namespace prune
