#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_bitmask/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kChunk = 32;

void pack_chunk(const float* x, int64_t cols, void* packed) {
  auto* out = static_cast<float*>(packed);
  for (int64_t k = 0; k < kChunk; ++k) out[k] = k < cols ? x[k] : 0.0f;
}

template <class T>
void multiply(const BitmaskStream& stream, const void* x, int64_t n, float* sums) {
  for (int64_t i = 0; i < n; ++i) {
    const T* values = static_cast<const T*>(stream.values);
    const float* inputs = static_cast<const float*>(x) + i * kChunk;
    float* row_sums = sums + i * kBitmaskGroupRows;
    for (int64_t r = 0; r < kBitmaskGroupRows; ++r) row_sums[r] = 0;
    for (int64_t c = 0; c < stream.chunks; ++c, inputs += n * kChunk) {
      for (int64_t r = 0; r < kBitmaskGroupRows; ++r) {
        for (uint32_t mask = stream.masks[c * kBitmaskGroupRows + r]; mask != 0; mask &= mask - 1) {
          row_sums[r] += widen(*values++) * inputs[__builtin_ctz(mask)];
        }
      }
    }
  }
}

template <class T>
constexpr BitmaskKernel make_kernel(const char* name, WeightType type) {
  return {.name = name,
          .type = type,
          .chunk = kChunk,
          .x_bytes = 4,
          .pack_chunk = pack_chunk,
          .multiply = multiply<T>};
}

}  // namespace

constexpr BitmaskKernel bitmask_f32_generic = make_kernel<float>("bitmask_f32_generic", WeightType::kF32);
constexpr BitmaskKernel bitmask_bf16_generic =
    make_kernel<uint16_t>("bitmask_bf16_generic", WeightType::kBf16);
constexpr BitmaskKernel bitmask_i8_generic = make_kernel<int8_t>("bitmask_i8_generic", WeightType::kI8);

}  // namespace prune::kernels
