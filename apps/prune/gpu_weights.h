// Packed weights in GPU memory, and the products that the CUDA kernels have for them. Builds with CUDA only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/sparse/cuda/product_call.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune::app {

struct GpuDevice {
  bool hopper = false;  // compute capability 9
  int multiprocessors = 0;
};

// One way to multiply.
struct GpuProduct {
  std::string kernel;
  std::function<kernels::cuda::Status(const kernels::cuda::ProductCall&)> run;
};

class GpuWeight {
 public:
  virtual ~GpuWeight() = default;
  // The ways to multiply by so many tokens, in an order that depends on shape and tokens alone; none where no
  // kernel does.
  virtual std::vector<GpuProduct> products(int tokens) const = 0;
};

// Packs a weight on the device; nothing where no kernel takes its format or type. The weight must have been
// checked. Throws std::runtime_error with CUDA's own words.
std::unique_ptr<GpuWeight> upload(const PackedCheckpoint& packed, const PackedWeight& weight,
                                  const GpuDevice& device);

}  // namespace prune::app
