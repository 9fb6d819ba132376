#include "kernels/sparse/simd/avx512.h"

#include "kernels/sparse/plain/tile.h"

namespace prune::kernels {

constexpr PlainKernel plain_f32_avx512 = plain_kernel<Avx512F32, float>("plain_f32_avx512", WeightType::kF32);
constexpr PlainKernel plain_eight_f32_avx512{.name = "plain_eight_f32_avx512",
                                             .type = WeightType::kF32,
                                             .group_rows = 8,
                                             .in_halves = true,
                                             .x_bytes = 4,
                                             .pack_x = copy_inputs,
                                             .multiply = multiply_plain_eight<Avx512F32, float>};
constexpr PlainKernel plain_widened_bf16_avx512 =
    plain_kernel<Avx512F32, uint16_t>("plain_widened_bf16_avx512", WeightType::kBf16);

}  // namespace prune::kernels
