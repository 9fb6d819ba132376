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

// Nothing is pruned, so any pattern and a method with calibration will do.
PrunePlan plan_rounding(const Checkpoint& checkpoint, const std::set<std::string>& tensors,
                        const CalibrationOptions& options, int threads) {
  if (threads > 0) omp_set_num_threads(threads);
  use_gemm_in_updates();
  PruneOptions all;
  all.method = "sparsegpt";
  all.pattern = Unstructured{};
  all.sparsity = 0;
  std::ranges::transform(tensors, std::back_inserter(all.include), pattern_of_name);
  all.threads = threads;
  all.calibration = options;
  return plan_pruning(checkpoint, all);
}

}  // namespace

CalibratedRounding::CalibratedRounding(const Checkpoint& checkpoint, const std::set<std::string>& tensors,
                                       Index scale_group, const CalibrationOptions& options, int threads,
                                       std::filesystem::path folder, const Progress& progress)
    : plan_(plan_rounding(checkpoint, tensors, options, threads)),
      pruner_(checkpoint, plan_, rounding_method(), scale_group, std::move(folder)) {
  for (const std::string& tensor : tensors) {
    const auto is_planned = [&](const PlannedTensor& planned) {
      return planned.prune && checkpoint.tensor(planned.ref).name == tensor;
    };
    if (std::ranges::none_of(plan_.tensors, is_planned))
      throw_input("tensor " + quote_name(tensor) + " can't be rounded with calibration: leave it out");
  }
  pruner_.run(progress);
}

}  // namespace prune
