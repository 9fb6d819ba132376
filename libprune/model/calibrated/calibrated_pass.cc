#include "libprune/model/calibrated/calibrated_pass.h"

#include <optional>
#include <utility>

#include <omp.h>

#include "libprune/model/calibrated/calibrated_pruner.h"
#include "libprune/model/calibrated/update_products.h"
#include "libprune/model/checkpoint_rewrite.h"

namespace prune {

PruneReport prune_calibrated(const Checkpoint& checkpoint, const PrunePlan& plan,
                             const std::filesystem::path& output, StagingOptions options,
                             const Progress& progress) {
  use_gemm_in_updates();
  if (plan.options.threads > 0) omp_set_num_threads(plan.options.threads);
  std::optional<CalibratedPruner> pruner;
  const TensorRewriter rewriter{[&] {
                                  pruner.emplace(checkpoint, plan, output.parent_path());
                                  pruner->run(progress);
                                },
                                [&](const PlannedTensor& planned, TensorSink& sink) {
                                  const std::string& name = checkpoint.tensor(planned.ref).name;
                                  const PrunedTensor& pruned = pruner->pruned(name);
                                  sink.append(pruned.bytes);
                                  pruner->done_with(name);
                                  return pruned.report;
                                }};
  return rewrite_checkpoint(checkpoint, plan, output, std::move(options), rewriter, progress);
}

}  // namespace prune
