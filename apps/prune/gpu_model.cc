#include "apps/prune/gpu_model.h"

#include "apps/prune/gpu_driver.h"
#include "libprune/model/cuda/device_losses.h"

namespace prune::app {

std::unique_ptr<ReadyModel> prepare_on_gpu(const Checkpoint& checkpoint, const Progress& progress) {
  require_gpu_kernels(ask_gpu_driver());
  return std::make_unique<gpu::DeviceDecoder>(checkpoint, progress);
}

Perplexity measure_perplexity_on_gpu(const Checkpoint& checkpoint, std::span<const int32_t> ids,
                                     const PerplexityOptions& options, const Progress& progress) {
  require_gpu_kernels(ask_gpu_driver());
  const gpu::DeviceDecoder model(checkpoint);
  gpu::DeviceLosses losses(model);
  Perplexity result = measure_perplexity(model.config(), ids, options, losses, progress);
  result.seconds += model.seconds();
  return result;
}

}  // namespace prune::app
