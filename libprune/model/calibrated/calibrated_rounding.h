// Rounding the weights of a whole model to int8, and pruning them if asked to, each decoder layer on what the
// rounded ones before it give.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>

#include <prune/pattern.h>

#include "libprune/model/calibrated/calibrated_pruner.h"
#include "libprune/model/prune_plan.h"
#include "libprune/model/scale_grid.h"

namespace prune {

// What is pruned in the sweep that rounds.
struct RoundedPruning {
  Pattern pattern = Unstructured{};
  std::optional<double> sparsity = 0;  // may be left out where the pattern decides it
};

class CalibratedRounding {
 public:
  // Prunes and rounds these tensors of the checkpoint by rounding_method(). Rounded ones wait in a temporary
  // file in `folder`. Throws Error(kInput) for a tensor that is no linear layer of a decoder layer, and as
  // CalibratedPruner does.
  CalibratedRounding(const Checkpoint& checkpoint, const std::set<std::string>& tensors, Index scale_group,
                     const RoundedPruning& pruning, const CalibrationOptions& options, int threads,
                     std::filesystem::path folder, const Progress& progress);

  // A tensor as the file would hold it: multiples of its scales, rounded to its own type.
  std::span<const std::byte> rounded(const std::string& tensor) const { return pruner_.pruned(tensor).bytes; }
  const ScaleGrid& scales(const std::string& tensor) const { return pruner_.pruned(tensor).scales; }
  void done_with(const std::string& tensor) { pruner_.done_with(tensor); }
  // ||X (W' - W)^T||^2 / ||X W^T||^2
  double output_error(const std::string& tensor) const {
    return pruner_.pruned(tensor).report.error_after.value_or(0);
  }

 private:
  PrunePlan plan_;
  CalibratedPruner pruner_;
};

}  // namespace prune
