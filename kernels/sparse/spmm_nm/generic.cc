#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_nm/group.h"

namespace prune::kernels {
namespace {

template <class T>
struct Step {
  using Value = T;
  using Input = float;
  static constexpr int kChunk = 32, kMostBatch = 1, kLanes = 2;

  template <int B>
  static void multiply(const T* values, const uint32_t* indices, int64_t chunks, const float* x, int64_t n,
                       float* lanes, int64_t) {
    for (int64_t c = 0; c < chunks; ++c, x += n * kChunk) {
      for (int64_t r = 0; r < kNm24QuadRows; ++r, values += kChunk / 2) {
        uint32_t bits = *indices++;
        for (int g = 0; g < kChunk / 4; ++g, bits >>= 4) {
          lanes[r * kLanes] += widen(values[2 * g]) * x[4 * g + (bits & 3)];
          lanes[r * kLanes + 1] += widen(values[2 * g + 1]) * x[4 * g + (bits >> 2 & 3)];
        }
      }
    }
  }
  static float reduce(const float* lanes) { return lanes[0] + lanes[1]; }
};

}  // namespace

constexpr Nm24Kernel nm24_f32_generic = float_kernel<Step<float>>("nm24_f32_generic", WeightType::kF32);
constexpr Nm24Kernel nm24_bf16_generic = float_kernel<Step<uint16_t>>("nm24_bf16_generic", WeightType::kBf16);
constexpr Nm24Kernel nm24_f16_generic = float_kernel<Step<Half>>("nm24_f16_generic", WeightType::kF16);
constexpr Nm24Kernel nm24_i8_generic = float_kernel<Step<int8_t>>("nm24_i8_generic", WeightType::kI8);

}  // namespace prune::kernels
