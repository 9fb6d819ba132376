#include "kernels/sparse/simd/portable.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {

// 2 x 4 accumulators.
constexpr RowListsKernel row_lists_f32_generic =
    make_float_lists_kernel<PortableF32, /*NV=*/4, /*K=*/128>("row_lists_f32_generic", /*densest=*/1.0);

}  // namespace prune::kernels
