#include "kernels/sparse/simd/avx512bf16.h"
// The vector type comes first: the templates below are written against it.
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/spmm_bsr/tile.h"

namespace prune::kernels {
namespace {

constexpr int kColumns = 128;

// Inputs 2 p and 2 p + 1 lie in the lower and upper half of each 32 bits: panel[p][c], 128 columns a row.
void pack(const float* x, int64_t ldx, int64_t columns, int64_t depth, void* packed) {
  for (int64_t c = 0; c < columns; c += 16) {
    for (int64_t k = 0; k < depth; k += 16) {
      __m512 r[16];
      load_transposed(x + c * ldx + k, ldx, columns - c, depth - k, r);
      for (int64_t i = 0; i < 16 && k + i < depth; i += 2) {
        const __m512i even = _mm512_cvtepu16_epi32(round_bf16(r[i]));
        const __m512i odd = _mm512_slli_epi32(_mm512_cvtepu16_epi32(round_bf16(r[i + 1])), 16);
        _mm512_storeu_si512(static_cast<uint32_t*>(packed) + (k + i) / 2 * kColumns + c,
                            _mm512_or_si512(even, odd));
      }
    }
  }
}

// The two products of a pair go to one sum.
struct PairProduct {
  static constexpr int kInputs = 2;
  static PRUNE_INLINE __m512 multiply(__m512 x, __m512 w, __m512 acc) {
    return dot_pairs(acc, _mm512_castps_si512(x), _mm512_castps_si512(w));
  }
};

void store(const float* tile, int64_t rows, int64_t columns, const float* scales, const float* bias, float* y,
           int64_t ldy) {
  store_tile<Avx512F32>(tile, kColumns, rows, columns, scales, bias, y, ldy);
}

constexpr PanelCode kPanel{
    .vector_columns = 16, .panel_columns = kColumns, .input_bytes = 2, .pack = pack, .store = store};

}  // namespace

constexpr BsrTileKernel bsr_tile8_bf16_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, PairProduct, /*R=*/8, /*NV=*/2, /*Tiles=*/kColumns / 32>(
        "bsr_tile8_bf16_avx512bf16", kPanel);
constexpr BsrTileKernel bsr_tile4_bf16_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, PairProduct, /*R=*/4, /*NV=*/4, /*Tiles=*/kColumns / 64>(
        "bsr_tile4_bf16_avx512bf16", kPanel);

}  // namespace prune::kernels
