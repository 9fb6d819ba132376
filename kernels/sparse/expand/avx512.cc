#include "kernels/sparse/simd/avx512.h"
#include "kernels/sparse/expand/kernel.h"

namespace prune::kernels {
namespace {

void expand_row(const uint8_t* bits, const void* values, int64_t cols, void* out) {
  const float* value = static_cast<const float*>(values);
  float* to = static_cast<float*>(out);
  for (int64_t j = 0; j < cols; j += 16, bits += 2) {
    const int64_t left = cols - j;
    const uint32_t mask = left > 8 ? bits[0] | uint32_t{bits[1]} << 8 : bits[0];
    const __mmask16 lanes = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    _mm512_mask_storeu_ps(to + j, lanes, _mm512_maskz_expandloadu_ps(static_cast<__mmask16>(mask), value));
    value += __builtin_popcount(mask);
  }
}

}  // namespace

constexpr ExpandKernel expand_f32_avx512{"expand_f32_avx512", WeightType::kF32, expand_row};

}  // namespace prune::kernels
