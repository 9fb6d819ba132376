#include "bench/gpu/fill.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

namespace prune::bench {
namespace {

__device__ inline uint64_t mix(uint64_t i, uint64_t seed) {
  uint64_t z = (i + seed * 0x632be59bd9b4e019) * 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

// The sum of four uniform numbers is near enough to normal; its deviation is 1 / sqrt(3) of the unit
// interval's doubled.
__device__ inline float normal(uint64_t i, uint64_t seed) {
  const uint64_t bits = mix(i, seed);
  float sum = 0;
  for (int j = 0; j < 4; ++j) sum += float(bits >> (16 * j) & 0xffff) * (1.0f / 65536) - 0.5f;
  return sum * 1.7320508f;
}

struct Normal {
  float deviation;
  __device__ void operator()(__nv_bfloat16& to, uint64_t i, uint64_t seed) const {
    to = __float2bfloat16(deviation * normal(i, seed));
  }
  __device__ void operator()(__half& to, uint64_t i, uint64_t seed) const {
    to = __float2half(deviation * normal(i, seed));
  }
  __device__ void operator()(__nv_fp8_e4m3& to, uint64_t i, uint64_t seed) const {
    to = __nv_fp8_e4m3(deviation * normal(i, seed));
  }
  __device__ void operator()(int8_t& to, uint64_t i, uint64_t seed) const {
    to = int8_t(fminf(fmaxf(rintf(deviation * normal(i, seed)), -127.0f), 127.0f));
  }
};
struct Uniform {
  float low, high;
  __device__ void operator()(float& to, uint64_t i, uint64_t seed) const {
    to = low + (high - low) * (float(mix(i, seed) >> 40) * (1.0f / (1 << 24)));
  }
};
struct Byte {
  __device__ void operator()(uint8_t& to, uint64_t i, uint64_t seed) const { to = uint8_t(mix(i, seed)); }
};
struct Nibbles {
  __device__ void operator()(uint8_t& to, uint64_t i, uint64_t seed) const {
    const uint64_t legal = 0xedc984, bits = mix(i, seed);
    to = uint8_t((legal >> (4 * (bits % 6)) & 15) | (legal >> (4 * (bits / 6 % 6)) & 15) << 4);
  }
};

struct ZeroTwo {
  __device__ void operator()(uint32_t& to, uint64_t i, uint64_t seed) const {
    const uint32_t pairs[6] = {0x0000ffff, 0x00ff00ff, 0xff0000ff, 0x00ffff00, 0xff00ff00, 0xffff0000};
    to &= pairs[mix(i, seed) % 6];
  }
};
struct Bits {
  uint32_t threshold;  // of 16 bits
  __device__ void operator()(uint8_t& to, uint64_t i, uint64_t seed) const {
    uint32_t byte = 0;
    for (int half = 0; half < 2; ++half) {
      const uint64_t bits = mix(2 * i + half, seed);
      for (int j = 0; j < 4; ++j) byte |= uint32_t((bits >> (16 * j) & 0xffff) < threshold) << (4 * half + j);
    }
    to = uint8_t(byte);
  }
};

// One block a row.
__global__ void __launch_bounds__(256) count_rows(const uint8_t* bits, int row_bytes, int64_t* counts) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  int own = 0;
  for (int i = int(threadIdx.x); i < row_bytes; i += 256)
    own += __popc(uint32_t(bits[size_t(blockIdx.x) * row_bytes + i]));
  atomicAdd(&sum, own);
  __syncthreads();
  if (threadIdx.x == 0) counts[blockIdx.x] = sum;
}
// One warp a row.
__global__ void __launch_bounds__(32)
    list_rows(const uint8_t* bits, int row_bytes, const int64_t* offsets, int32_t* columns) {
  int32_t* to = columns + offsets[blockIdx.x];
  for (int byte = 0; byte < row_bytes; byte += 4) {
    const int at = byte + int(threadIdx.x) / 8, bit = int(threadIdx.x) % 8;
    const bool set = at < row_bytes && (bits[size_t(blockIdx.x) * row_bytes + at] >> bit & 1);
    const uint32_t all = __ballot_sync(~0u, set);
    if (set) to[__popc(all & ((1u << threadIdx.x) - 1))] = at * 8 + bit;
    to += __popc(all);
  }
}

template <class T, class Make>
__global__ void fill(T* to, size_t count, uint64_t seed, Make make) {
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < count;
       i += size_t(gridDim.x) * blockDim.x)
    make(to[i], i, seed);
}
template <class T, class Make>
void launch(void* to, size_t count, uint64_t seed, Make make, cudaStream_t stream) {
  fill<<<1024, 256, 0, stream>>>(static_cast<T*>(to), count, seed, make);
}

}  // namespace

void fill_bf16(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream) {
  launch<__nv_bfloat16>(to, count, seed, Normal{deviation}, stream);
}
void fill_f16(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream) {
  launch<__half>(to, count, seed, Normal{deviation}, stream);
}
void fill_int8(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream) {
  launch<int8_t>(to, count, seed, Normal{deviation}, stream);
}
void fill_e4m3(void* to, size_t count, float deviation, uint64_t seed, cudaStream_t stream) {
  launch<__nv_fp8_e4m3>(to, count, seed, Normal{deviation}, stream);
}
void zero_two_of_four(void* bytes, size_t count, uint64_t seed, cudaStream_t stream) {
  launch<uint32_t>(bytes, count / 4, seed, ZeroTwo{}, stream);
}
void fill_float(float* to, size_t count, float low, float high, uint64_t seed, cudaStream_t stream) {
  launch<float>(to, count, seed, Uniform{low, high}, stream);
}
void fill_bytes(void* to, size_t count, uint64_t seed, cudaStream_t stream) {
  launch<uint8_t>(to, count, seed, Byte{}, stream);
}
void fill_nibbles(void* to, size_t count, uint64_t seed, cudaStream_t stream) {
  launch<uint8_t>(to, count, seed, Nibbles{}, stream);
}
void fill_bits(void* to, size_t bytes, double density, uint64_t seed, cudaStream_t stream) {
  launch<uint8_t>(to, bytes, seed, Bits{uint32_t(density * 65536)}, stream);
}
void count_bits(const void* bits, int rows, int row_bytes, int64_t* counts, cudaStream_t stream) {
  count_rows<<<unsigned(rows), 256, 0, stream>>>(static_cast<const uint8_t*>(bits), row_bytes, counts);
}
void list_bits(const void* bits, int rows, int row_bytes, const int64_t* offsets, int32_t* columns,
               cudaStream_t stream) {
  list_rows<<<unsigned(rows), 32, 0, stream>>>(static_cast<const uint8_t*>(bits), row_bytes, offsets,
                                               columns);
}

}  // namespace prune::bench
