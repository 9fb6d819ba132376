#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_bitmask/float_kernel.h"

namespace prune::kernels {
namespace {

// One row of X at a time.
template <class T>
struct Batch {
  static constexpr int kChunk = 32, kMost = 1;

  template <int>
  static void multiply(const BitmaskStream& stream, const float* inputs, int64_t n, float* sums) {
    const T* values = static_cast<const T*>(stream.values);
    for (int64_t r = 0; r < kBitmaskGroupRows; ++r) sums[r] = 0;
    for (int64_t c = 0; c < stream.chunks; ++c, inputs += n * kChunk) {
      for (int64_t r = 0; r < kBitmaskGroupRows; ++r) {
        for (uint32_t mask = stream.masks[c * kBitmaskGroupRows + r]; mask != 0; mask &= mask - 1) {
          sums[r] += widen(*values++) * inputs[__builtin_ctz(mask)];
        }
      }
    }
  }
};

}  // namespace

constexpr BitmaskKernel bitmask_f32_generic =
    float_kernel<Batch<float>>("bitmask_f32_generic", WeightType::kF32);
constexpr BitmaskKernel bitmask_bf16_generic =
    float_kernel<Batch<uint16_t>>("bitmask_bf16_generic", WeightType::kBf16);
constexpr BitmaskKernel bitmask_i8_generic =
    float_kernel<Batch<int8_t>>("bitmask_i8_generic", WeightType::kI8);

}  // namespace prune::kernels
