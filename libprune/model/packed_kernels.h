// From a packed weight of a checkpoint to a plan that multiplies with it.
#pragma once

#include "kernels/sparse/plan.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune {

// Whether the kernels hold this type as it is; others are widened to float first.
bool has_kernels(DType dtype);

// Checks the weight (Error(kInput) for a damaged one), then rearranges it for this machine. Nothing of the
// file is needed afterwards.
kernels::Plan prepare(const PackedCheckpoint& checkpoint, const PackedWeight& weight,
                      const kernels::PrepareOptions& options = {});

}  // namespace prune
