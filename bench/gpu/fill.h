// Random data in device memory. Never zeros: they are faster than real data.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace prune::bench {

// 16-bit floats, roughly normal with the given deviation.
void fill_bf16(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream);
void fill_f16(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream);
void fill_float(float* to, size_t count, float low, float high, uint64_t seed, cudaStream_t stream);
void fill_bytes(void* to, size_t count, uint64_t seed, cudaStream_t stream);
// Two random legal 2:4 nibbles a byte.
void fill_nibbles(void* to, size_t count, uint64_t seed, cudaStream_t stream);

}  // namespace prune::bench
