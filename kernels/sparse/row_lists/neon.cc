#include "kernels/sparse/simd/neon.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {

// 2 x 8 accumulators, a block's panel in 32 KiB.
constexpr RowListsKernel row_lists_f32_neon =
    make_float_lists_kernel<NeonF32, /*NV=*/8, /*K=*/256>("row_lists_f32_neon", /*densest=*/1.0);

}  // namespace prune::kernels
