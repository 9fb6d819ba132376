#include <cstring>

#include "kernels/sparse/spmm_bitmask/kernel.h"

namespace prune::kernels {
namespace {

float widen(float value) { return value; }
float widen(int8_t value) { return value; }
float widen(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

void pack_x(const float* x, int64_t cols, int64_t chunks, void* packed) {
  std::memcpy(packed, x, cols * sizeof(float));
  std::memset(static_cast<float*>(packed) + cols, 0, (chunks * kBitmaskChunk - cols) * sizeof(float));
}

template <class T>
void multiply(const BitmaskStream& stream, const void* x, int64_t n, float* sums) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < kBitmaskGroupRows; ++r) {
      const T* values = static_cast<const T*>(stream.values[r]);
      const float* inputs = static_cast<const float*>(x) + i * stream.chunks * kBitmaskChunk;
      float sum = 0;
      for (int64_t c = 0; c < stream.chunks; ++c, inputs += kBitmaskChunk) {
        for (uint32_t mask = stream.masks[c * kBitmaskGroupRows + r]; mask != 0; mask &= mask - 1) {
          sum += widen(*values++) * inputs[__builtin_ctz(mask)];
        }
      }
      sums[i * kBitmaskGroupRows + r] = sum;
    }
  }
}

template <class T>
constexpr BitmaskKernel make_kernel(const char* name, WeightType type) {
  return {.name = name, .type = type, .x_bytes = 4, .pack_x = pack_x, .multiply = multiply<T>};
}

}  // namespace

constexpr BitmaskKernel bitmask_f32_generic = make_kernel<float>("bitmask_f32_generic", WeightType::kF32);
constexpr BitmaskKernel bitmask_bf16_generic =
    make_kernel<uint16_t>("bitmask_bf16_generic", WeightType::kBf16);
constexpr BitmaskKernel bitmask_i8_generic = make_kernel<int8_t>("bitmask_i8_generic", WeightType::kI8);

}  // namespace prune::kernels
