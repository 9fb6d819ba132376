// From a packed weight of a checkpoint to a plan that multiplies with it.
#pragma once

#include <string_view>

#include "kernels/sparse/plan.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune {

// The type of the weights that a kernel holds, which stands in its name: kI8 of "nm24_i8_avx2" and of
// "bsr_tile8_bytes_avx512bf16". Weights of other types were widened to it.
DType held_dtype(std::string_view kernel);

// Checks the weight (Error(kInput) for a damaged one), then rearranges it for this machine. Nothing of the
// file is needed afterwards.
kernels::Plan prepare(const PackedCheckpoint& checkpoint, const PackedWeight& weight,
                      const kernels::PrepareOptions& options = {});

}  // namespace prune
