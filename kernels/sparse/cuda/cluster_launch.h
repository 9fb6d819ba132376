// Launches of thread-block clusters, as a ProductCall asks for them.
#pragma once

#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

// Of one kernel.
class ClusterLaunch {
 public:
  // Of clusters of `blocks` thread blocks, with dynamic shared memory for each of those.
  ClusterLaunch(int blocks, int threads, int shared_bytes, const ProductCall& call)
      : blocks_(unsigned(blocks)), overlaps_(call.overlap_previous) {
    attributes_[0].id = cudaLaunchAttributeClusterDimension;
    attributes_[0].val.clusterDim = {blocks_, 1, 1};
    attributes_[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes_[1].val.programmaticStreamSerializationAllowed = 1;
    config_.blockDim = dim3(unsigned(threads));
    config_.dynamicSmemBytes = size_t(shared_bytes);
    config_.stream = call.stream;
    config_.attrs = attributes_;
  }
  ClusterLaunch(const ClusterLaunch&) = delete;

  // How many clusters run at once, 0 where the device can't hold one.
  template <class Kernel>
  Status count(Kernel* kernel, int* clusters) {
    if (const Status s = allow_shared(kernel); !s.ok()) return s;
    config_.gridDim = dim3(blocks_);
    config_.numAttrs = 1;
    return from_cuda(cudaOccupancyMaxActiveClusters(clusters, kernel, &config_));
  }

  template <class Kernel, class... Arguments>
  Status run(Kernel* kernel, int clusters, const Arguments&... arguments) {
    if (const Status s = allow_shared(kernel); !s.ok()) return s;
    config_.gridDim = dim3(unsigned(clusters) * blocks_);
    config_.numAttrs = overlaps_ ? 2 : 1;
    return from_cuda(cudaLaunchKernelEx(&config_, kernel, arguments...));
  }

 private:
  template <class Kernel>
  Status allow_shared(Kernel* kernel) {
    if (is_allowed_) return {};
    is_allowed_ = true;
    return from_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          int(config_.dynamicSmemBytes)));
  }

  unsigned blocks_;
  bool overlaps_;
  bool is_allowed_ = false;
  cudaLaunchAttribute attributes_[2]{};
  cudaLaunchConfig_t config_{};
};

}  // namespace prune::kernels::cuda
