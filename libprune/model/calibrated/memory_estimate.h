// What a calibrated pass will hold, before it starts.
#pragma once

#include <cstdint>

#include "libprune/io/checkpoint.h"
#include "libprune/model/prune_plan.h"

namespace prune {

// Bytes. T tokens of text, w the model's width, L the weights of one decoder layer, in and out of its
// matrices.
struct MemoryEstimate {
  uint64_t states = 0;   // streams T w 4: one, one more to follow the dense model, two more to reconstruct
  uint64_t pruned = 0;   // pruned weights in the checkpoint's types, until they are written
  uint64_t spilled = 0;  // in temporary files: the pruned weights, and hidden states beyond --memory
  uint64_t layers = 0;   // L 4, twice where a dense copy is needed, 12 times where two layers are trained
  uint64_t moments = 0;  // in^2 4 of all different inputs of a layer, twice to follow the dense model
  uint64_t batch = 0;    // activations of the sequences that pass a layer at once
  uint64_t solver = 0;   // of the largest matrix: out in 4, four times; where weights change six times, and
                         // in^2 4, three times
  uint64_t program = 0;  // code, libraries, their caches

  uint64_t resident() const {
    return states + pruned - spilled + layers + moments + batch + solver + program;
  }
};

// Throws Error(kInput) where the architecture is not supported, Error(kUsage) as calibration_length().
MemoryEstimate estimate_memory(const Checkpoint& checkpoint, const PrunePlan& plan);

}  // namespace prune
