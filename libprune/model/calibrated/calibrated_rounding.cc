#include "libprune/model/calibrated/calibrated_rounding.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <omp.h>

#include <prune/error.h>

#include "libprune/io/text.h"
#include "libprune/model/calibrated/update_products.h"
#include "libprune/model/name_filter.h"

namespace prune {
namespace {

// The method is what a plan may name for rounding_method().
PrunePlan plan_rounding(const Checkpoint& checkpoint, const std::set<std::string>& tensors,
                        const RoundedPruning& pruning, const CalibrationOptions& options, int threads) {
  if (threads > 0) omp_set_num_threads(threads);
  use_gemm_in_updates();
  PruneOptions all;
  all.method = "sparsegpt";
  all.pattern = pruning.pattern;
  all.sparsity = pruning.sparsity;
  all.unfit_advice = "--exclude leaves it as it is";
  std::ranges::transform(tensors, std::back_inserter(all.include), pattern_of_name);
  all.threads = threads;
  all.calibration = options;
  return plan_pruning(checkpoint, all);
}

}  // namespace

CalibratedRounding::CalibratedRounding(const Checkpoint& checkpoint, const std::set<std::string>& tensors,
                                       Index scale_group, const RoundedPruning& pruning,
                                       const CalibrationOptions& options, int threads,
                                       std::filesystem::path folder, const Progress& progress)
    : plan_(plan_rounding(checkpoint, tensors, pruning, options, threads)),
      pruner_(checkpoint, plan_, rounding_method(), scale_group, std::move(folder)) {
  for (const PlannedTensor& planned : plan_.tensors) {
    const std::string& tensor = checkpoint.tensor(planned.ref).name;
    if (planned.prune || !tensors.contains(tensor)) continue;
    throw_input("tensor " + quote_name(tensor) + " can't be rounded with calibration" +
                (planned.reason.empty() ? "" : " (" + planned.reason + ")") + ": leave it out");
  }
  pruner_.run(progress);
}

}  // namespace prune
