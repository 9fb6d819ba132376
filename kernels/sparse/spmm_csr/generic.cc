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

template <int Width, class T, class Column>
void multiply_together(const T* values, const Column* columns, int64_t count, const float* x, float* sums) {
  float sum[Width] = {};
  for (int64_t j = 0; j < count; ++j) {
    const float* found = x + static_cast<int64_t>(columns[j]) * Width;
    const float value = widen(values[j]);
    for (int i = 0; i < Width; ++i) sum[i] += value * found[i];
  }
  for (int i = 0; i < Width; ++i) sums[i] = sum[i];
}

template <class T, class Column>
void multiply(const void* values, const Column* columns, int64_t count, const float* x, int64_t n,
              float* sums) {
  const T* weights = static_cast<const T*>(values);
  switch (csr_width(n)) {
    case 1:
      sums[0] = dot(weights, columns, count, x);
      break;
    case 4:
      multiply_together<4>(weights, columns, count, x, sums);
      break;
    case 8:
      multiply_together<8>(weights, columns, count, x, sums);
      break;
    default:
      multiply_together<16>(weights, columns, count, x, sums);
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
