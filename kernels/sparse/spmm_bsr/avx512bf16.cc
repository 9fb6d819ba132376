#include "kernels/sparse/simd/byte_panel.h"
#include "kernels/sparse/simd/pair_panel.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/spmm_bsr/tile.h"

namespace prune::kernels {
namespace {

constexpr int kColumns = 128;

// The two products of a pair go to one sum.
struct PairProduct {
  static constexpr int kInputs = 2;
  using Begins = FloatProduct<Avx512F32>::Begins;
  static PRUNE_INLINE __m512 multiply(__m512 x, __m512 w, __m512 acc) {
    return dot_pairs(acc, _mm512_castps_si512(x), _mm512_castps_si512(w));
  }
};

// The four products of bytes go to one sum of integers. Inputs are kByteZero too large.
struct ByteProduct {
  static constexpr int kInputs = 4;
  struct Begins {
    int32_t sums[16];
    // Of up to sixteen rows, whose values lie side by side.
    PRUNE_INLINE Begins(const float* values, int64_t steps, int rows) {
      __m512i all = _mm512_setzero_si512();
      for (int64_t j = 0; j < steps; ++j, values += rows) {
        all = _mm512_dpbusd_epi32(all, _mm512_set1_epi8(static_cast<char>(kByteZero)),
                                  _mm512_maskz_loadu_epi32(first_lanes(rows), values));
      }
      _mm512_storeu_si512(sums, _mm512_sub_epi32(_mm512_setzero_si512(), all));
    }
    PRUNE_INLINE __m512 of_row(int r) const { return _mm512_castsi512_ps(_mm512_set1_epi32(sums[r])); }
  };
  static PRUNE_INLINE __m512 multiply(__m512 x, __m512 w, __m512 acc) {
    return _mm512_castsi512_ps(
        _mm512_dpbusd_epi32(_mm512_castps_si512(acc), _mm512_castps_si512(x), _mm512_castps_si512(w)));
  }
};

constexpr PanelCode kPanel = make_pair_panel_code<kColumns, 16>();
constexpr PanelCode kBytePanel = make_byte_four_panel_code<kColumns>();

}  // namespace

constexpr BsrTileKernel bsr_tile8_bf16_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, PairProduct, /*R=*/8, /*NV=*/2, /*Tiles=*/kColumns / 32>(
        "bsr_tile8_bf16_avx512bf16", kPanel);
constexpr BsrTileKernel bsr_tile4_bf16_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, PairProduct, /*R=*/4, /*NV=*/4, /*Tiles=*/kColumns / 64>(
        "bsr_tile4_bf16_avx512bf16", kPanel);
constexpr BsrTileKernel bsr_tile8_bytes_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, ByteProduct, /*R=*/8, /*NV=*/2, /*Tiles=*/kColumns / 32>(
        "bsr_tile8_bytes_avx512bf16", kBytePanel);
constexpr BsrTileKernel bsr_tile4_bytes_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, ByteProduct, /*R=*/4, /*NV=*/4, /*Tiles=*/kColumns / 64>(
        "bsr_tile4_bytes_avx512bf16", kBytePanel);

}  // namespace prune::kernels
