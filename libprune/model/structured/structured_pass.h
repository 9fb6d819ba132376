// Structured pruning of a whole checkpoint: from the options to the smaller model's folder.
#pragma once

#include <filesystem>

#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"
#include "libprune/model/progress.h"
#include "libprune/model/structured/layer_report.h"
#include "libprune/model/structured/structured_options.h"

namespace prune {

// What a run would be asked for, for --dry-run and --resume.
nlohmann::json describe_structured(const Checkpoint& checkpoint, const StructuredOptions& options);

// The shape that the options ask for. Throws Error(kUsage), see plan_shape(), and where the configuration's
// format can't say what would be left; Error(kInput) for a checkpoint without a config.json or of another
// architecture. For mixed units one of those that would be tried.
ModelShape plan_structured(const Checkpoint& checkpoint, const StructuredOptions& options);

// Chooses units, refits and trains as the method says, and puts the smaller model at `output` at once. Throws
// Error, or Interrupted; the output then does not exist.
StructuredReport prune_units(const Checkpoint& checkpoint, const StructuredOptions& options,
                             const std::filesystem::path& output, StagingOptions staging,
                             const Progress& progress);

}  // namespace prune
