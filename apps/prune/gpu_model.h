// Whole models on the first CUDA device: --device cuda of generate, eval and bench --whole.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "libprune/model/decoder/perplexity.h"
#include "libprune/model/runtime/ready_model.h"

namespace prune::app {

// Both throw Error(kRuntime) where this build has no CUDA kernels, or there is no GPU or driver for them, or
// the model does not fit its memory; Error(kInput) for a model that does not run there. The checkpoint must
// outlive the model.
std::unique_ptr<ReadyModel> prepare_on_gpu(const Checkpoint& checkpoint, const Progress& progress);

// The time to load the model is part of the result's.
Perplexity measure_perplexity_on_gpu(const Checkpoint& checkpoint, std::span<const int32_t> ids,
                                     const PerplexityOptions& options, const Progress& progress);

}  // namespace prune::app
