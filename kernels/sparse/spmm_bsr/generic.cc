#include "kernels/sparse/simd/portable.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/spmm_bsr/tile.h"

namespace prune::kernels {

constexpr BsrTileKernel bsr_tile4_f32_generic =
    make_float_bsr_tile_kernel<PortableF32, /*R=*/4, /*NV=*/2, /*Tiles=*/2>("bsr_tile4_f32_generic");
constexpr BsrFewKernel bsr4_f32_generic =
    make_bsr_few_kernel<PortableF32, float>("bsr4_f32_generic", WeightType::kF32);
constexpr BsrFewKernel bsr4_bf16_generic =
    make_bsr_few_kernel<PortableF32, uint16_t>("bsr4_bf16_generic", WeightType::kBf16);
constexpr BsrFewKernel bsr4_i8_generic =
    make_bsr_few_kernel<PortableF32, int8_t>("bsr4_i8_generic", WeightType::kI8);

}  // namespace prune::kernels
