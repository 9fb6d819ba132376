// prune bench --device cuda: products of a packed checkpoint on a GPU, dense and sparse in turns.
#pragma once

#include <string>
#include <vector>

#include "apps/prune/product_timing.h"

namespace prune::app {

struct GpuTimings {
  std::string gpu;
  std::string peer;  // "cuBLASLt 13.0.2"
  ProductRoof roof;  // what large dense products reach, with one row and with many
  std::vector<ProductTiming> products;
  std::vector<std::string> left_out;  // formats and numbers of rows for which there is no kernel, in words
};

// As time_products(), by cuBLASLt's fastest algorithm and the fastest kernel of ours, on the first GPU.
// Throws Error(kRuntime) where this build has no CUDA kernels, there is no GPU or driver for them, or the two
// sides differ.
GpuTimings time_products_on_gpu(const PackedCheckpoint& packed, const std::vector<int>& rows, double seconds);

}  // namespace prune::app
