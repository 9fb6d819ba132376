// Recovery: a pruned checkpoint trained on text under its own zeros, which stay.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"
#include "libprune/model/progress.h"
#include "libprune/model/train/trainer.h"

namespace prune {

struct RecoveryReport {
  std::filesystem::path output;
  int64_t steps = 0;
  int64_t tokens = 0;
  int64_t weights = 0;  // of the linear layers of decoder layers
  int64_t zeros = 0;    // of these, before and after
  TrainingStep first, last;
  double seconds = 0;  // of training
  double tokens_per_second = 0;
  int64_t bytes_written = 0;
};

// Trains the checkpoint on `ids`, with the teacher's help unless it is null, and writes it to `output` in its
// own types, shards and order: every weight that was 0 is +0. Calls `on_step` after each step. Throws
// Error(kInput) where the architecture is not supported or a tensor's type can't hold trained weights, what
// Trainer throws, or Interrupted; the output then does not exist.
RecoveryReport recover_checkpoint(const Checkpoint& checkpoint, const Checkpoint* teacher,
                                  std::span<const int32_t> ids, const TrainingOptions& options,
                                  const std::filesystem::path& output, StagingOptions staging,
                                  const std::function<void(const TrainingStep&)>& on_step);

}  // namespace prune
