// Launches of kernels whose thread blocks go their own ways, as a ProductCall asks for them; cluster_launch.h
// has those of clusters.
#pragma once

#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

// What launches are planned by.
struct Device {
  int major = 0;  // of its compute capability
  int multiprocessors = 0;
  int shared_bytes = 0;  // that a thread block can have
};
inline Status current_device(Device* device) {
  int index = 0;
  cudaError_t code = cudaGetDevice(&index);
  const auto ask = [&](int* answer, cudaDeviceAttr question) {
    if (code == cudaSuccess) code = cudaDeviceGetAttribute(answer, question, index);
  };
  ask(&device->major, cudaDevAttrComputeCapabilityMajor);
  ask(&device->multiprocessors, cudaDevAttrMultiProcessorCount);
  ask(&device->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return from_cuda(code);
}

struct Grid {
  dim3 blocks;
  int threads = 0;
  int shared_bytes = 0;  // of a block, dynamic
};

template <class Arguments>
Status launch(void (*kernel)(Arguments), const Grid& grid, const ProductCall& call,
              const Arguments& arguments) {
  constexpr int kUnasked = 48 << 10;  // what every kernel may have
  if (grid.shared_bytes > kUnasked) {
    const Status s = from_cuda(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, grid.shared_bytes));
    if (!s.ok()) return s;
  }
  cudaLaunchAttribute overlap;
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(unsigned(grid.threads));
  config.dynamicSmemBytes = size_t(grid.shared_bytes);
  config.stream = call.stream;
  config.attrs = &overlap;
  config.numAttrs = call.overlap_previous ? 1 : 0;
  return from_cuda(cudaLaunchKernelEx(&config, kernel, arguments));
}

}  // namespace prune::kernels::cuda
