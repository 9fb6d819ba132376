#include "kernels/sparse/simd/portable.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/gemv/rows.h"

namespace prune::kernels {

constexpr GemvKernel gemv_i8_generic = make_gemv_kernel<PortableF32>("gemv_i8_generic");

}  // namespace prune::kernels
