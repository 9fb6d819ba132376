#include "kernels/sparse/simd/avx2.h"

#include "kernels/sparse/plain/tile.h"

namespace prune::kernels {

constexpr PlainKernel plain_f32_avx2 = plain_kernel<Avx2F32, float>("plain_f32_avx2", WeightType::kF32);
constexpr PlainKernel plain_widened_bf16_avx2 =
    plain_kernel<Avx2F32, uint16_t>("plain_widened_bf16_avx2", WeightType::kBf16);

}  // namespace prune::kernels
