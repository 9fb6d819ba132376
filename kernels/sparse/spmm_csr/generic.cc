#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_csr/rows.h"

namespace prune::kernels {
namespace {

struct Scalars {
  // Four sums, so that one product need not wait for the one before.
  template <class T, class Column>
  static float one(const T* values, const Column* columns, int64_t count, const float* x) {
    float sum[4] = {};
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
      for (int q = 0; q < 4; ++q) sum[q] += widen(values[j + q]) * x[columns[j + q]];
    }
    for (; j < count; ++j) sum[0] += widen(values[j]) * x[columns[j]];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }

  template <int Width, class T, class Column>
  static void together(const T* values, const Column* columns, int64_t count, const float* x, float* sums) {
    float sum[Width] = {};
    for (int64_t j = 0; j < count; ++j) {
      const float* found = x + static_cast<int64_t>(columns[j]) * Width;
      const float value = widen(values[j]);
      for (int i = 0; i < Width; ++i) sum[i] += value * found[i];
    }
    for (int i = 0; i < Width; ++i) sums[i] = sum[i];
  }
};

}  // namespace

constexpr CsrKernel csr_f32_generic = csr_kernel<Scalars, float>("csr_f32_generic", WeightType::kF32);
constexpr CsrKernel csr_bf16_generic = csr_kernel<Scalars, uint16_t>("csr_bf16_generic", WeightType::kBf16);
constexpr CsrKernel csr_i8_generic = csr_kernel<Scalars, int8_t>("csr_i8_generic", WeightType::kI8);

}  // namespace prune::kernels
