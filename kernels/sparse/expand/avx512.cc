#include "kernels/sparse/simd/avx512.h"
#include "kernels/sparse/expand/kernel.h"

namespace prune::kernels {
namespace {

// Sixteen lanes at most, and none behind the last value.
PRUNE_INLINE __m512 expand_values(__mmask16 mask, const float* values) {
  return _mm512_maskz_expandloadu_ps(mask, values);
}
PRUNE_INLINE __m512 expand_values(__mmask16 mask, const Half* values) {
  const auto present = static_cast<__mmask16>((1u << __builtin_popcount(mask)) - 1);
  return _mm512_maskz_expand_ps(mask, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(present, values)));
}

template <class T>
void expand_row(const uint8_t* bits, const void* values, int64_t cols, void* out) {
  const T* value = static_cast<const T*>(values);
  float* to = static_cast<float*>(out);
  for (int64_t j = 0; j < cols; j += 16, bits += 2) {
    const int64_t left = cols - j;
    const uint32_t mask = left > 8 ? bits[0] | uint32_t{bits[1]} << 8 : bits[0];
    const __mmask16 lanes = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    _mm512_mask_storeu_ps(to + j, lanes, expand_values(static_cast<__mmask16>(mask), value));
    value += __builtin_popcount(mask);
  }
}

}  // namespace

constexpr ExpandKernel expand_f32_avx512{"expand_f32_avx512", WeightType::kF32, expand_row<float>};
constexpr ExpandKernel expand_f16_avx512{"expand_f16_avx512", WeightType::kF16, expand_row<Half>};

}  // namespace prune::kernels
