// A whole checkpoint from dense-with-zeros to packed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "libprune/io/staging.h"
#include "libprune/model/calibrated/calibrated_rounding.h"
#include "libprune/model/format_choice.h"
#include "libprune/model/pack_report.h"
#include "libprune/model/progress.h"

namespace prune {

class TuningTable;

struct PackOptions {
  FormatRequest request = {};  // without a format: for each tensor the smallest that holds it
  StoredValues values = StoredValues::kPlain;
  Index scale_group = 0;  // with int8 values: columns that share a scale; 0: whole rows do
  // Calibrated: of int8 values, with the text of `calibration`.
  ValueRounding rounding = ValueRounding::kNearest;
  CalibrationOptions calibration = {};
  // With calibrated rounding: weights are pruned first, in the sweep that rounds them (SparseGPT).
  std::optional<RoundedPruning> pruning = {};
  std::vector<std::string> include = {};  // these weights; empty: those the architecture names
  std::vector<std::string> exclude = {};
  int threads = 0;
  // With this and without a format: the fastest for one row of X on this machine among the smaller ones.
  TuningTable* fastest_by = nullptr;
};

// Writes the packed checkpoint. A weight that fits no format, or would not be smaller, or with fastest_by
// not faster, stays dense and the report says why; with a format given, one that can't take it is refused.
// Other tensors and files are copied. Throws Error(kUsage) for a pattern that is not its format's or
// a scale_group or a rounding that can't be meant,
// Error(kInput) when there is no weight to pack or one is refused; other Errors, and Interrupted, as staging
// does.
PackReport pack_checkpoint(const Checkpoint& checkpoint, const PackOptions& options,
                           const std::filesystem::path& output, StagingOptions staging,
                           const Progress& progress);

}  // namespace prune
