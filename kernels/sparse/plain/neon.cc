#include "kernels/sparse/simd/neon.h"

#include "kernels/sparse/plain/tile.h"

namespace prune::kernels {

constexpr PlainKernel plain_f32_neon = plain_kernel<NeonF32, float>("plain_f32_neon", WeightType::kF32);
constexpr PlainKernel plain_widened_bf16_neon =
    plain_kernel<NeonF32, uint16_t>("plain_widened_bf16_neon", WeightType::kBf16);

}  // namespace prune::kernels
