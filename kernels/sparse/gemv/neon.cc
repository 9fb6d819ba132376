#include "kernels/sparse/simd/neon.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/gemv/rows.h"

namespace prune::kernels {

constexpr GemvKernel gemv_i8_neon = make_gemv_kernel<NeonF32>("gemv_i8_neon");

}  // namespace prune::kernels
