#include "kernels/sparse/simd/avx512.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {

// 2 x 8 accumulators, a block's panel in 32 KiB. Where little stays, half the columns and longer blocks: more
// products for each time that a pair's sums are fetched and put back.
constexpr RowListsKernel row_lists_f32_avx512 =
    make_float_lists_kernel<Avx512F32, /*NV=*/8, /*K=*/64>("row_lists_f32_avx512", /*densest=*/1.0);
constexpr RowListsKernel row_lists_sparse_f32_avx512 =
    make_float_lists_kernel<Avx512F32, /*NV=*/4, /*K=*/160>("row_lists_sparse_f32_avx512", /*densest=*/0.25);

// Where one product is made in a cycle, half the sums are enough to keep it busy, and blocks can be longer;
// Zen 4 has 32 KiB of first-level cache, of which a block's panel must leave some.
constexpr RowListsKernel row_lists_halves_f32_avx512 =
    make_float_lists_kernel<Avx512F32, /*NV=*/4, /*K=*/72, /*InHalves=*/true>("row_lists_halves_f32_avx512",
                                                                              /*densest=*/1.0);
constexpr RowListsKernel row_lists_halves_sparse_f32_avx512 =
    make_float_lists_kernel<Avx512F32, /*NV=*/4, /*K=*/128, /*InHalves=*/true>(
        "row_lists_halves_sparse_f32_avx512",
        /*densest=*/0.35);
constexpr RowListsKernel row_lists_halves_sparsest_f32_avx512 =
    make_float_lists_kernel<Avx512F32, /*NV=*/2, /*K=*/256, /*InHalves=*/true>(
        "row_lists_halves_sparsest_f32_avx512",
        /*densest=*/0.15);

}  // namespace prune::kernels
