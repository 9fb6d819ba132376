#include "kernels/sparse/simd/portable.h"

#include "kernels/sparse/plain/tile.h"

namespace prune::kernels {

constexpr PlainKernel plain_f32_generic =
    plain_kernel<PortableF32, float>("plain_f32_generic", WeightType::kF32);
constexpr PlainKernel plain_widened_bf16_generic =
    plain_kernel<PortableF32, uint16_t>("plain_widened_bf16_generic", WeightType::kBf16);

}  // namespace prune::kernels
