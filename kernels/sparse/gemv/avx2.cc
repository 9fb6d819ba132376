#include "kernels/sparse/simd/avx2.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/gemv/rows.h"

namespace prune::kernels {

constexpr GemvKernel gemv_i8_avx2 = make_gemv_kernel<Avx2F32>("gemv_i8_avx2");

}  // namespace prune::kernels
