#include "kernels/sparse/simd/avx2.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {

// 2 x 6 accumulators.
constexpr RowListsKernel row_lists_f32_avx2 =
    make_float_lists_kernel<Avx2F32, /*NV=*/6, /*K=*/128>("row_lists_f32_avx2", /*densest=*/1.0);

}  // namespace prune::kernels
