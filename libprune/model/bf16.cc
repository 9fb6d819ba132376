#include "libprune/model/bf16.h"

#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/sparse/row_math/row_math.h"

namespace prune {
namespace {

constexpr int64_t kShared = int64_t{1} << 15;  // elements from which threads round them together

}  // namespace

// oneDNN has products of bf16 from AVX-512 on. Below, its reference code would take their place.
bool has_bf16_products() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::all:
    case dnnl::cpu_isa::sse41:
    case dnnl::cpu_isa::avx:
    case dnnl::cpu_isa::avx2:
      return false;
#if DNNL_VERSION_MAJOR >= 3
    case dnnl::cpu_isa::avx2_vnni:
      return false;
#endif
    default:
      return true;
  }
}

void round_rows_to_bf16(const float* x, int64_t ldx, int64_t n, int64_t cols, uint16_t* y) {
  const kernels::RowMath& math = kernels::row_math();
#pragma omp parallel for if (n * cols >= kShared)
  for (int64_t i = 0; i < n; ++i) math.round_to_bf16(x + i * ldx, y + i * cols, cols);
}

}  // namespace prune
