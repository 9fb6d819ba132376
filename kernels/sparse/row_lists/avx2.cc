#include "kernels/sparse/simd/avx2.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {

// 2 x 6 accumulators.
constexpr RowListsKernel row_lists_f32_avx2 =
    make_row_lists_kernel<Avx2F32, /*R=*/2, /*NV=*/6, /*K=*/128>("row_lists_f32_avx2");

}  // namespace prune::kernels
