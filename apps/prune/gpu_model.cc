#include "apps/prune/gpu_model.h"

#include "apps/prune/gpu_driver.h"
#include "libprune/model/cuda/device_losses.h"

namespace prune::app {

std::unique_ptr<ReadyModel> prepare_on_gpu(const Checkpoint& checkpoint, bool lean,
                                           const Progress& progress) {
  require_gpu_kernels(ask_gpu_driver());
  return std::make_unique<gpu::DeviceDecoder>(checkpoint, progress, gpu::DeviceOptions{.keeps_dense = !lean});
}

LossesOnGpu prepare_losses_on_gpu(const Checkpoint& checkpoint, bool lean, const Progress& progress) {
  require_gpu_kernels(ask_gpu_driver());
  auto model =
      std::make_unique<gpu::DeviceDecoder>(checkpoint, progress, gpu::DeviceOptions{.keeps_dense = !lean});
  auto losses = std::make_unique<gpu::DeviceLosses>(*model);
  return {std::move(model), std::move(losses)};
}

}  // namespace prune::app
