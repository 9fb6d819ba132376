#include "bench/gpu/fill.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

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
void fill_float(float* to, size_t count, float low, float high, uint64_t seed, cudaStream_t stream) {
  launch<float>(to, count, seed, Uniform{low, high}, stream);
}
void fill_bytes(void* to, size_t count, uint64_t seed, cudaStream_t stream) {
  launch<uint8_t>(to, count, seed, Byte{}, stream);
}
void fill_nibbles(void* to, size_t count, uint64_t seed, cudaStream_t stream) {
  launch<uint8_t>(to, count, seed, Nibbles{}, stream);
}

}  // namespace prune::bench
