// Launches of the decoder's own kernels. Device code.
#pragma once

#include <cuda_runtime.h>

#include "kernels/sparse/cuda/ptx.h"
#include "libprune/model/cuda/device.h"

namespace prune::gpu {

// By all threads of every kernel that launch_after() launches, in this order. What a thread reads before
// wait_for_previous() must not be written by kernels that were queued since the host last waited for the
// stream.
__device__ inline void allow_next() {
#if __CUDA_ARCH__ >= 900
  kernels::cuda::ptx::launch_dependents();
#endif
}
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  kernels::cuda::ptx::wait_for_prerequisites();
#endif
}
__device__ inline void follow_previous() {
  allow_next();
  wait_for_previous();
}

inline bool launches_dependently() {
  int device = 0, major = 0;
  cuda(cudaGetDevice(&device));
  cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return major >= 9;
}

// With clusters, all blocks of the grid's z are one; compute capability 9.0.
enum class Clusters { kNone, kAlongZ };

template <class... Parameters, class... Arguments>
void launch_after(void (*kernel)(Parameters...), dim3 grid, int threads, cudaStream_t stream,
                  Clusters clusters, const Arguments&... arguments) {
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {1, 1, grid.z};
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(unsigned(threads));
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = !launches_dependently() ? 0 : clusters == Clusters::kAlongZ ? 2 : 1;
  cuda(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
}
template <class... Parameters, class... Arguments>
void launch_after(void (*kernel)(Parameters...), dim3 grid, int threads, cudaStream_t stream,
                  const Arguments&... arguments) {
  launch_after(kernel, grid, threads, stream, Clusters::kNone, arguments...);
}

}  // namespace prune::gpu
