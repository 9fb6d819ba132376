// Training a checkpoint in memory, and writing it again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>

#include <prune/report.h>

#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"
#include "libprune/model/prune_plan.h"
#include "libprune/model/train/masking.h"
#include "libprune/model/train/trainer.h"

namespace prune {

struct TrainingJob {
  const Checkpoint& checkpoint;
  const Checkpoint* teacher = nullptr;
  std::span<const int32_t> ids;
  std::unique_ptr<Masking> masking;
  // Of the linear weights that are to be reported as pruned; `options` say what the job is, training
  // included.
  PrunePlan plan;
  std::function<void(const TrainingStep&)> on_step = {};
};

// Trains, and writes the checkpoint to `output` in its own types, shards and order: every weight that is
// masked is +0. The report counts the zeros of the tensors that the plan prunes. Throws Error(kInput) where
// the architecture is not supported, a tensor's type can't hold trained weights, or the plan prunes what is
// no linear layer; what Trainer throws; or Interrupted. The output then does not exist.
PruneReport train_checkpoint(TrainingJob job, const std::filesystem::path& output, StagingOptions staging);

// The linear weights of a decoder's layers, as a plan.
PrunePlan plan_linears(const Checkpoint& checkpoint, const PruneOptions& options);

}  // namespace prune
