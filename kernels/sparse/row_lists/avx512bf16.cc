#include "kernels/sparse/simd/row_pair_panel.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {
namespace {

// An entry's two inputs, their rows interleaved to pairs.
struct PairInputs {
  static constexpr int kPerEntry = 2;
  static constexpr int kVectors = 2;

  static PRUNE_INLINE void load(const char* const (&rows)[2], int v, __m512 (&x)[2]) {
    __m512i pairs[2];
    interleave_rows(rows[0], rows[1], v, pairs);
    x[0] = _mm512_castsi512_ps(pairs[0]);
    x[1] = _mm512_castsi512_ps(pairs[1]);
  }
  static PRUNE_INLINE __m512 multiply(__m512 x, __m512 w, __m512 acc) {
    return dot_pairs(acc, _mm512_castps_si512(x), _mm512_castps_si512(w));
  }
};

// NV vectors wide.
template <int NV, int K, bool InHalves = false>
constexpr RowListsKernel make_kernel(const char* name, double densest) {
  constexpr PanelCode panel = make_row_pair_panel_code<16 * NV>();
  return make_row_lists_kernel<Avx512F32, PairInputs, NV, K, InHalves>(name, panel, densest);
}

}  // namespace

// As in float, with twice the inputs in the same bytes.
constexpr RowListsKernel row_lists_bf16_avx512bf16 =
    make_kernel</*NV=*/8, /*K=*/128>("row_lists_bf16_avx512bf16", /*densest=*/1.0);
constexpr RowListsKernel row_lists_sparse_bf16_avx512bf16 =
    make_kernel</*NV=*/4, /*K=*/320>("row_lists_sparse_bf16_avx512bf16", /*densest=*/0.25);
constexpr RowListsKernel row_lists_halves_bf16_avx512bf16 =
    make_kernel</*NV=*/8, /*K=*/96, /*InHalves=*/true>("row_lists_halves_bf16_avx512bf16", /*densest=*/1.0);
constexpr RowListsKernel row_lists_halves_sparse_bf16_avx512bf16 =
    make_kernel</*NV=*/4, /*K=*/256, /*InHalves=*/true>("row_lists_halves_sparse_bf16_avx512bf16",
                                                        /*densest=*/0.35);
constexpr RowListsKernel row_lists_halves_sparsest_bf16_avx512bf16 =
    make_kernel</*NV=*/2, /*K=*/512, /*InHalves=*/true>("row_lists_halves_sparsest_bf16_avx512bf16",
                                                        /*densest=*/0.15);

}  // namespace prune::kernels
