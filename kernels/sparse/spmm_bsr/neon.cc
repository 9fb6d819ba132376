#include "kernels/sparse/simd/neon.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/spmm_bsr/tile.h"

namespace prune::kernels {

// 24 accumulators, three vectors of inputs and two of weights.
constexpr BsrTileKernel bsr_tile8_f32_neon =
    make_float_bsr_tile_kernel<NeonF32, /*R=*/8, /*NV=*/3, /*Tiles=*/4>("bsr_tile8_f32_neon");
// 24, six and one.
constexpr BsrTileKernel bsr_tile4_f32_neon =
    make_float_bsr_tile_kernel<NeonF32, /*R=*/4, /*NV=*/6, /*Tiles=*/2>("bsr_tile4_f32_neon");
constexpr BsrFewKernel bsr4_f32_neon = make_bsr_few_kernel<NeonF32, float>("bsr4_f32_neon", WeightType::kF32);
constexpr BsrFewKernel bsr4_bf16_neon =
    make_bsr_few_kernel<NeonF32, uint16_t>("bsr4_bf16_neon", WeightType::kBf16);
constexpr BsrFewKernel bsr4_i8_neon = make_bsr_few_kernel<NeonF32, int8_t>("bsr4_i8_neon", WeightType::kI8);

}  // namespace prune::kernels
