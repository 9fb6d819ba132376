// The zeros of every linear weight of a checkpoint, dense or packed.
#pragma once

#include <string>
#include <vector>

#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/progress.h"
#include "libprune/model/sparsity_profile.h"

namespace prune::app {

struct WeightProfile {
  std::string name;
  DType dtype = DType::kF32;
  size_t shard = 0;
  std::string format;  // "dense", or how it is packed
  uint64_t bytes = 0;  // in the file
  SparsityProfile zeros;
};

// Reads all of them. `packed` is null for a dense checkpoint. Packed weights are checked on the way. Throws
// Error(kInput).
std::vector<WeightProfile> profile_weights(const Checkpoint& checkpoint, const PackedCheckpoint* packed,
                                           int threads, const Progress& progress);

}  // namespace prune::app
