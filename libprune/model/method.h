// The pruning methods that the program offers by name.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include <prune/report.h>

#include "libprune/io/staging.h"
#include "libprune/model/progress.h"
#include "libprune/model/prune_plan.h"

namespace prune {

// One pass over a checkpoint: from the plan to a pruned checkpoint at `output`.
using PrunePass = PruneReport (*)(const Checkpoint&, const PrunePlan&, const std::filesystem::path& output,
                                  StagingOptions, const Progress&);

struct Method {
  std::string_view name;
  std::string_view summary;
  PrunePass run;
  bool needs_calibration = false;
  bool trains = false;
};

// A method that needs no data is its own file with a PrunePass, and one line in method.cc; one that works
// with the inputs of each layer is a LayerMethod.
std::span<const Method> methods();
// Throws Error(kUsage) naming the methods there are.
const Method& find_method(std::string_view name);

}  // namespace prune
