#include "kernels/sparse/simd/avx512.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {

// 4 x 4 accumulators.
constexpr RowListsKernel row_lists_f32_avx512 =
    make_row_lists_kernel<Avx512F32, /*R=*/4, /*NV=*/4, /*K=*/128>("row_lists_f32_avx512");

}  // namespace prune::kernels
