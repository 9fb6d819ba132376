#include "kernels/sparse/simd/pair_panel.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/spmm_bsr/tile.h"

namespace prune::kernels {
namespace {

constexpr int kColumns = 128;

// The two products of a pair go to one sum.
struct PairProduct {
  static constexpr int kInputs = 2;
  static PRUNE_INLINE __m512 multiply(__m512 x, __m512 w, __m512 acc) {
    return dot_pairs(acc, _mm512_castps_si512(x), _mm512_castps_si512(w));
  }
};

constexpr PanelCode kPanel = make_pair_panel_code<kColumns, 16>();

}  // namespace

constexpr BsrTileKernel bsr_tile8_bf16_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, PairProduct, /*R=*/8, /*NV=*/2, /*Tiles=*/kColumns / 32>(
        "bsr_tile8_bf16_avx512bf16", kPanel);
constexpr BsrTileKernel bsr_tile4_bf16_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, PairProduct, /*R=*/4, /*NV=*/4, /*Tiles=*/kColumns / 64>(
        "bsr_tile4_bf16_avx512bf16", kPanel);

}  // namespace prune::kernels
