#include "kernels/sparse/simd/avx2.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/spmm_bsr/tile.h"

namespace prune::kernels {

constexpr BsrTileKernel bsr_tile4_f32_avx2 =
    make_float_bsr_tile_kernel<Avx2F32, /*R=*/4, /*NV=*/2, /*Tiles=*/4>("bsr_tile4_f32_avx2");
constexpr BsrFewKernel bsr8_f32_avx2 = make_bsr_few_kernel<Avx2F32, float>("bsr8_f32_avx2", WeightType::kF32);
constexpr BsrFewKernel bsr8_bf16_avx2 =
    make_bsr_few_kernel<Avx2F32, uint16_t>("bsr8_bf16_avx2", WeightType::kBf16);
constexpr BsrFewKernel bsr8_i8_avx2 = make_bsr_few_kernel<Avx2F32, int8_t>("bsr8_i8_avx2", WeightType::kI8);

}  // namespace prune::kernels
