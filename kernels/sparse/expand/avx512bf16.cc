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

// Bytes are spread in a register: spreading them from memory takes a cycle for each.
void expand_i8(const uint8_t* bits, const void* values, int64_t cols, void* out) {
  const TwosComplement decoder;
  const uint8_t* value = static_cast<const uint8_t*>(values);
  uint16_t* to = static_cast<uint16_t*>(out);
  for (int64_t j = 0; j < cols; j += 64) {
    const int64_t left = cols - j;
    uint64_t mask = 0;
    __builtin_memcpy(&mask, bits + j / 8, left >= 64 ? 8 : static_cast<size_t>((left + 7) / 8));
    const int count = __builtin_popcountll(mask);
    __m512i wide[2];
    const __m512i next =
        _mm512_maskz_loadu_epi8(_bzhi_u64(~uint64_t{0}, static_cast<unsigned>(count)), value);
    decoder.widen(_mm512_mask_expand_epi8(fresh_zero(), mask, next), wide);
    _mm512_mask_storeu_epi16(to + j, lanes_of(left), wide[0]);
    if (left > 32) _mm512_mask_storeu_epi16(to + j + 32, lanes_of(left - 32), wide[1]);
    value += count;
  }
}

// A nibble is a group's two indices; which two bits they are is a table of sixteen bytes.
void nm24_masks(const uint8_t* indices, int64_t count, uint8_t* masks) {
  alignas(16) uint8_t pairs[16];
  for (unsigned pair = 0; pair < 16; ++pair)
    pairs[pair] = static_cast<uint8_t>(1u << (pair & 3) | 1u << (pair >> 2));
  const __m512i low = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(pairs)));
  const __m512i high = _mm512_slli_epi16(low, 4), nibble = _mm512_set1_epi8(15);
  for (int64_t b = 0; b < count; b += 64) {
    const __mmask64 lanes = _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(count - b < 64 ? count - b : 64));
    const __m512i bytes = _mm512_maskz_loadu_epi8(lanes, indices + b);
    const __m512i lower = _mm512_shuffle_epi8(low, _mm512_and_si512(bytes, nibble));
    const __m512i upper = _mm512_shuffle_epi8(high, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), nibble));
    _mm512_mask_storeu_epi8(masks + b, lanes, _mm512_or_si512(lower, upper));
  }
}

}  // namespace

constexpr ExpandKernel expand_bf16_avx512bf16{"expand_bf16_avx512bf16", WeightType::kBf16, expand_bf16,
                                              nm24_masks};
constexpr ExpandKernel expand_i8_avx512bf16{"expand_i8_avx512bf16", WeightType::kI8, expand_i8, nm24_masks};

}  // namespace prune::kernels
