#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_csr/kernel.h"

namespace prune::kernels {
namespace {

// Four sums, so that one product need not wait for the one before.
template <class T, class Column>
float dot(const T* values, const Column* columns, int64_t count, const float* x) {
  float sum[4] = {};
  int64_t j = 0;
  for (; j + 4 <= count; j += 4) {
    for (int q = 0; q < 4; ++q) sum[q] += widen(values[j + q]) * x[columns[j + q]];
  }
  for (; j < count; ++j) sum[0] += widen(values[j]) * x[columns[j]];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <class T, class Column>
void multiply(const void* values, const Column* columns, int64_t count, const float* x, int64_t x_stride,
              int64_t n, float* sums) {
  for (int64_t i = 0; i < n; ++i) {
    sums[i] = dot(static_cast<const T*>(values), columns, count, x + i * x_stride);
  }
}

}  // namespace

constexpr CsrKernel csr_f32_generic{"csr_f32_generic", WeightType::kF32, multiply<float, uint16_t>,
                                    multiply<float, uint32_t>};
constexpr CsrKernel csr_bf16_generic{"csr_bf16_generic", WeightType::kBf16, multiply<uint16_t, uint16_t>,
                                     multiply<uint16_t, uint32_t>};
constexpr CsrKernel csr_i8_generic{"csr_i8_generic", WeightType::kI8, multiply<int8_t, uint16_t>,
                                   multiply<int8_t, uint32_t>};

}  // namespace prune::kernels
