#include "kernels/sparse/simd/portable.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {

// 2 x 4 accumulators.
constexpr RowListsKernel row_lists_f32_generic =
    make_row_lists_kernel<PortableF32, /*R=*/2, /*NV=*/4, /*K=*/128>("row_lists_f32_generic");

}  // namespace prune::kernels
