#include "kernels/sparse/simd/avx512.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/gemv/rows.h"

namespace prune::kernels {

constexpr GemvKernel gemv_i8_avx512 = make_gemv_kernel<Avx512F32>("gemv_i8_avx512");

}  // namespace prune::kernels
