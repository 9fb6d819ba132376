// Recovery: a pruned checkpoint trained on text under its own zeros, which stay.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

#include "libprune/model/train/trained_checkpoint.h"

namespace prune {

// Trains the checkpoint on `ids`, with the teacher's help unless it is null, and writes it to `output`: every
// weight that was 0 is +0. The report's tensors are the linear weights of the decoder layers. `described` is
// what the run is known by to a later one that resumes. Throws as train_checkpoint().
PruneReport recover_checkpoint(const Checkpoint& checkpoint, const Checkpoint* teacher,
                               std::span<const int32_t> ids, const TrainedPruning& described,
                               const std::filesystem::path& output, StagingOptions staging,
                               const std::function<void(const TrainingStep&)>& on_step);

}  // namespace prune
