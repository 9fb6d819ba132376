// Random data in device memory. Never zeros: they are faster than real data.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace prune::bench {

// 16-bit floats, roughly normal with the given deviation.
void fill_bf16(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream);
void fill_f16(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream);
void fill_int8(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream);
void fill_e4m3(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream);
void fill_float(float* to, size_t count, float low, float high, uint64_t seed, cudaStream_t stream);
void fill_bytes(void* to, size_t count, uint64_t seed, cudaStream_t stream);
// Two random legal 2:4 nibbles a byte.
void fill_nibbles(void* to, size_t count, uint64_t seed, cudaStream_t stream);
// Bytes to zero, two of every four, the others left as they are.
void zero_two_of_four(void* bytes, size_t count, uint64_t seed, cudaStream_t stream);
// Bits, each set with this probability.
void fill_bits(void* to, size_t bytes, double density, uint64_t seed, cudaStream_t stream);

// counts[r] <- the bits of row r of a [rows, row_bytes] array.
void count_bits(const void* bits, int rows, int row_bytes, int64_t* counts, cudaStream_t stream);
// Where the set bits of each row are, ascending; row r's from offsets[r] on.
void list_bits(const void* bits, int rows, int row_bytes, const int64_t* offsets, int32_t* columns,
               cudaStream_t stream);

}  // namespace prune::bench
