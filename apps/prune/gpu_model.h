// Whole models on the first CUDA device: --device cuda of generate, eval and bench --whole.
#pragma once

#include <memory>

#include "libprune/model/decoder/perplexity.h"
#include "libprune/model/runtime/ready_model.h"

namespace prune::app {

// Throws Error(kRuntime) where this build has no CUDA kernels, or there is no GPU or driver for them, or
// the model does not fit its memory; Error(kInput) for a model that does not run there. The checkpoint must
// outlive the model. `lean`: see DeviceOptions::keeps_dense.
std::unique_ptr<ReadyModel> prepare_on_gpu(const Checkpoint& checkpoint, bool lean, const Progress& progress);

// A model that measures perplexity there.
struct LossesOnGpu {
  std::unique_ptr<ReadyModel> model;
  std::unique_ptr<WindowLosses> losses;  // of that model
};
LossesOnGpu prepare_losses_on_gpu(const Checkpoint& checkpoint, bool lean, const Progress& progress);

}  // namespace prune::app
