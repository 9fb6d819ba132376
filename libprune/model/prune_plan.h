// What a pruning pass will do to every tensor, decided before anything is written.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <prune/pattern.h>
#include <prune/score/magnitude.h>

#include "libprune/io/checkpoint.h"
#include "libprune/model/architecture.h"
#include "libprune/model/calibrated/calibration_options.h"
#include "libprune/model/train/training_options.h"

namespace prune {

struct PruneOptions {
  std::string method = "magnitude";
  Pattern pattern = NM{2, 4};
  std::optional<double> sparsity = {};  // may be left out where the pattern decides it
  Scope scope = Scope::kLayer;          // of unstructured and block patterns
  BlockNorm block_norm = BlockNorm::kL2;
  std::vector<std::string> include = {};  // prune these and no others, whatever the architecture says
  std::vector<std::string> exclude = {};  // never prune these
  bool skip_unfit = false;  // leave a tensor alone that can't take the pattern, instead of refusing
  std::string unfit_advice = "--skip-unfit leaves such tensors dense";  // for who meets that refusal
  int threads = 0;                                                      // 0: all
  CalibrationOptions calibration = {};
  TrainedPruning trained = {};
};

struct PlannedTensor {
  TensorRef ref;
  bool prune = false;
  Orientation orientation = Orientation::kOutIn;
  std::string reason;  // why it is left alone
  Index out = 0;       // of tensors to prune: the matrix as [out, in]
  Index in = 0;
};

struct PrunePlan {
  PruneOptions options;
  double sparsity = 0;                 // resolved
  std::vector<PlannedTensor> tensors;  // shard by shard, in the order of the data
  std::vector<std::string> notes;      // what the user should know

  int64_t weights() const;  // in tensors to prune
  int64_t matrices() const;
};

// Throws Error(kUsage) for options that can't be meant, Error(kInput) when nothing would be pruned or a
// tensor can't take the pattern (naming it), unless skip_unfit.
PrunePlan plan_pruning(const Checkpoint& checkpoint, const PruneOptions& options);

}  // namespace prune
