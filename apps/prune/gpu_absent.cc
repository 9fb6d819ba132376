// What stands for gpu_products.cc and gpu_model.cc in builds without CUDA.
#include "apps/prune/gpu_driver.h"
#include "apps/prune/gpu_model.h"
#include "apps/prune/gpu_products.h"

namespace prune::app {

GpuTimings time_products_on_gpu(const PackedCheckpoint&, const std::vector<int>&, double) {
  require_gpu_kernels(ask_gpu_driver());
  return {};
}

std::unique_ptr<ReadyModel> prepare_on_gpu(const Checkpoint&, bool, const Progress&) {
  require_gpu_kernels(ask_gpu_driver());
  return nullptr;
}

LossesOnGpu prepare_losses_on_gpu(const Checkpoint&, bool, const Progress&) {
  require_gpu_kernels(ask_gpu_driver());
  return {};
}

}  // namespace prune::app
