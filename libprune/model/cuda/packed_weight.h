// Packed weights in GPU memory, and the products that the CUDA kernels have for them. Builds with CUDA only.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/sparse/cuda/product_call.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune::gpu {

struct DeviceTraits {
  bool hopper = false;  // compute capability 9; before and after it, the kernels for Ampere run
  int multiprocessors = 0;
};
DeviceTraits current_traits();  // of the current device

// One way to multiply.
struct DeviceProduct {
  std::string kernel;
  std::function<kernels::cuda::Status(const kernels::cuda::ProductCall&)> run;
};

class DevicePackedWeight {
 public:
  virtual ~DevicePackedWeight() = default;
  // The ways to multiply by so many tokens, in an order that depends on shape and tokens alone; none where no
  // kernel does.
  virtual std::vector<DeviceProduct> products(int tokens) const = 0;
  // Memory of the device.
  virtual size_t bytes() const = 0;

  // Whether many tokens are multiplied with the dense matrix, and that matrix: dense [rows, cols] in 16 bits,
  // queued.
  virtual bool expands() const { return false; }
  virtual void expand(void* /*dense*/, cudaStream_t /*stream*/) const {}
};

enum class Keep {
  kEveryWay,  // all layouts that there are kernels for, to try them
  kOneWay,    // of unstructured weights only the one that a single token is fastest with
};

// Whether a kernel multiplies weights of that shape, type and format by any number of tokens.
bool takes(const PackedWeight& weight, const DeviceTraits& device);

// Packs a weight on the device; nothing where takes() is false. The weight must have been checked. Throws
// Error(kRuntime) with CUDA's own words.
std::unique_ptr<DevicePackedWeight> upload(const PackedCheckpoint& packed, const PackedWeight& weight,
                                           const DeviceTraits& device, Keep keep = Keep::kEveryWay);

// Whether the rows of two weights can lie one below the other and be multiplied as one: 2:4, or bitmasks, of
// one type and width. upload_joined() takes weights each of which joins the next.
bool joins(const PackedWeight& a, const PackedWeight& b);
std::unique_ptr<DevicePackedWeight> upload_joined(const PackedCheckpoint& packed,
                                                  std::span<const PackedWeight* const> weights,
                                                  const DeviceTraits& device);

// takes() and upload() of bitmasks, CSR and windows.
bool takes_rows(const PackedWeight& weight);
std::unique_ptr<DevicePackedWeight> upload_rows(const PackedCheckpoint& packed, const PackedWeight& weight,
                                                const DeviceTraits& device, Keep keep);

}  // namespace prune::gpu
