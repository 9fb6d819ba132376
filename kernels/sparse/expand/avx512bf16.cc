#include <immintrin.h>

#include "kernels/sparse/expand/kernel.h"
#include "kernels/sparse/simd/avx512bf16.h"

namespace prune::kernels {
namespace {

// The next 32 bits, of which those from `left` on are not there.
PRUNE_INLINE uint32_t load_mask(const uint8_t* bits, int64_t left) {
  uint32_t mask = 0;
  __builtin_memcpy(&mask, bits, left >= 32 ? 4 : static_cast<size_t>((left + 7) / 8));
  return mask;
}

PRUNE_INLINE __mmask32 lanes_of(int64_t left) { return left >= 32 ? ~0u : (1u << left) - 1; }

void expand_bf16(const uint8_t* bits, const void* values, int64_t cols, void* out) {
  const uint16_t* value = static_cast<const uint16_t*>(values);
  uint16_t* to = static_cast<uint16_t*>(out);
  for (int64_t j = 0; j < cols; j += 32) {
    const uint32_t mask = load_mask(bits + j / 8, cols - j);
    _mm512_mask_storeu_epi16(to + j, lanes_of(cols - j), _mm512_maskz_expandloadu_epi16(mask, value));
    value += __builtin_popcount(mask);
  }
}

// Whole numbers of seven bits, exact in bf16.
PRUNE_INLINE __m256i as_bf16(__m128i bytes) {
  return round_bf16(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
}

void expand_i8(const uint8_t* bits, const void* values, int64_t cols, void* out) {
  const int8_t* value = static_cast<const int8_t*>(values);
  uint16_t* to = static_cast<uint16_t*>(out);
  for (int64_t j = 0; j < cols; j += 32) {
    const uint32_t mask = load_mask(bits + j / 8, cols - j);
    const __m256i bytes = _mm256_maskz_expandloadu_epi8(mask, value);
    const __m512i wide = _mm512_inserti64x4(_mm512_castsi256_si512(as_bf16(_mm256_castsi256_si128(bytes))),
                                            as_bf16(_mm256_extracti128_si256(bytes, 1)), 1);
    _mm512_mask_storeu_epi16(to + j, lanes_of(cols - j), wide);
    value += __builtin_popcount(mask);
  }
}

}  // namespace

constexpr ExpandKernel expand_bf16_avx512bf16{"expand_bf16_avx512bf16", WeightType::kBf16, expand_bf16};
constexpr ExpandKernel expand_i8_avx512bf16{"expand_i8_avx512bf16", WeightType::kI8, expand_i8};

}  // namespace prune::kernels
