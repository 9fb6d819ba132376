// Unstructured weights made dense again on the GPU, for products with many tokens.
#pragma once

#include <cstdint>

#include "kernels/sparse/spmm_relative/decode_relative.h"

namespace prune::gpu {

// dense [rows, cols] of 16 bits = the matrix, of one list a row, with zeros where it has no weight. cols is a
// multiple of 8, dense 16-byte aligned. Queued.
void expand_relative(const kernels::cuda::MatrixRelative& matrix, uint16_t* dense, cudaStream_t stream);

}  // namespace prune::gpu
