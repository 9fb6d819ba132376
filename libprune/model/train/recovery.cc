#include "libprune/model/train/recovery.h"

#include <utility>

#include "libprune/model/train/lora_masking.h"

namespace prune {

PruneReport recover_checkpoint(const Checkpoint& checkpoint, const Checkpoint* teacher,
                               std::span<const int32_t> ids, const TrainedPruning& described,
                               const std::filesystem::path& output, StagingOptions staging,
                               const std::function<void(const TrainingStep&)>& on_step) {
  PruneOptions options;
  options.method = "recover";
  options.trained = described;
  TrainingJob job{.checkpoint = checkpoint,
                  .teacher = teacher,
                  .ids = ids,
                  .masking = described.lora_rank > 0
                                 ? lora_masking(described.lora_rank, described.training.seed)
                                 : fixed_masking(),
                  .plan = plan_linears(checkpoint, options),
                  .on_step = on_step};
  PruneReport report = train_checkpoint(std::move(job), output, std::move(staging));
  report.pattern = "unchanged";
  report.scope.clear();
  report.sparsity = report.achieved_sparsity();
  return report;
}

}  // namespace prune
