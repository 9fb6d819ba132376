#include "kernels/sparse/simd/avx512.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/spmm_bsr/lanes.h"
#include "kernels/sparse/spmm_bsr/tile.h"

namespace prune::kernels {
namespace {

struct FloatLaneProduct {
  static constexpr int kInputs = 1, kHeadWords = 0;
  static PRUNE_INLINE __m512 begin(const float* /*head*/) { return _mm512_setzero_ps(); }
  static PRUNE_INLINE __m512 multiply(__m512 w, const float* x, __m512 acc) {
    return _mm512_fmadd_ps(w, _mm512_set1_ps(*x), acc);
  }
};

}  // namespace

constexpr BsrTileKernel bsr_lanes_f32_avx512 = make_bsr_lanes_kernel<FloatLaneProduct>(
    "bsr_lanes_f32_avx512", make_lane_panel_code<FloatPieces, FloatLanes>());

constexpr BsrTileKernel bsr_tile8_f32_avx512 =
    make_float_bsr_tile_kernel<Avx512F32, /*R=*/8, /*NV=*/2, /*Tiles=*/2>("bsr_tile8_f32_avx512");
constexpr BsrTileKernel bsr_tile4_f32_avx512 =
    make_float_bsr_tile_kernel<Avx512F32, /*R=*/4, /*NV=*/4, /*Tiles=*/1>("bsr_tile4_f32_avx512");
constexpr BsrFewKernel bsr16_f32_avx512 =
    make_bsr_few_kernel<Avx512F32, float>("bsr16_f32_avx512", WeightType::kF32);
constexpr BsrFewKernel bsr16_bf16_avx512 =
    make_bsr_few_kernel<Avx512F32, uint16_t>("bsr16_bf16_avx512", WeightType::kBf16);
constexpr BsrFewKernel bsr16_i8_avx512 =
    make_bsr_few_kernel<Avx512F32, int8_t>("bsr16_i8_avx512", WeightType::kI8);

}  // namespace prune::kernels
