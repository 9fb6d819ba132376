// A dense product through mma.sync with the tile and the pipeline of gemm24_mma: what the 2:4 kernel of that
// kind is measured against.
#pragma once

#include <cuda_runtime_api.h>

namespace prune::bench {

// Y[n x m] = X[n x k] W[m x k]^T, all row-major bfloat16; m and n multiples of 128, k of 64.
void dense_mma(int m, int n, int k, const void* w, const void* x, void* y, cudaStream_t stream);

// W and X of int8, k a multiple of 128.
void dense_mma_int8(int m, int n, int k, const void* w, const void* x, void* y, cudaStream_t stream);

}  // namespace prune::bench
