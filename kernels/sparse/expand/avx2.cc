#include "kernels/sparse/expand/kernel.h"
#include "kernels/sparse/expand/scalar.h"
#include "kernels/sparse/simd/avx2_values.h"

namespace prune::kernels {
namespace {

constexpr int64_t kStep = 16;  // places

int64_t count_bits(const uint8_t* bits, int64_t bytes) {
  int64_t count = 0, b = 0;
  for (; b + 8 <= bytes; b += 8) {
    uint64_t word;
    __builtin_memcpy(&word, bits + b, sizeof word);
    count += __builtin_popcountll(word);
  }
  for (; b < bytes; ++b) count += __builtin_popcount(bits[b]);
  return count;
}

// Types of values: store() puts the next ones to the sixteen places that a mask names, and reads eight from
// two places among sixteen.
struct Words {
  using Value = uint16_t;
  using Out = uint16_t;
  PRUNE_INLINE static void store(const Value* values, uint32_t mask, Out* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), spread_words(values, mask));
  }
};
template <class Values>
struct Floats {
  using Value = typename Values::Value;
  using Out = float;
  PRUNE_INLINE static void store(const Value* values, uint32_t mask, Out* out) {
    __m256 w[2];
    Values::spread(values, mask, w);
    for (int h = 0; h < 2; ++h) _mm256_storeu_ps(out + 8 * h, w[h]);
  }
};
// The upper halves of floats, which is all there is to whole numbers of seven bits.
struct Bytes {
  using Value = int8_t;
  using Out = uint16_t;
  PRUNE_INLINE static void store(const Value* values, uint32_t mask, Out* out) {
    __m256 w[2];
    Int8Values::spread(values, mask, w);
    const auto upper = [](__m256 v) { return _mm256_srli_epi32(_mm256_castps_si256(v), 16); };
    // Packing joins what lies in the same 128 bits.
    const __m256i packed = _mm256_packus_epi32(upper(w[0]), upper(w[1]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(packed, 0xd8));
  }
};

template <class Type>
void expand_row(const uint8_t* bits, const void* values, int64_t cols, void* out) {
  const auto* value = static_cast<const typename Type::Value*>(values);
  auto* to = static_cast<typename Type::Out*>(out);
  int64_t left = count_bits(bits, (cols + 7) / 8), j = 0;
  for (; j + kStep <= cols && left >= kStep; j += kStep) {
    uint16_t mask;
    __builtin_memcpy(&mask, bits + j / 8, sizeof mask);
    Type::store(value, mask, to + j);
    const int64_t taken = __builtin_popcount(mask);
    value += taken;
    left -= taken;
  }
  expand_from(j, bits, value, cols, to);
}

}  // namespace

constexpr ExpandKernel expand_f32_avx2{"expand_f32_avx2", WeightType::kF32, expand_row<Floats<FloatValues>>};
constexpr ExpandKernel expand_bf16_avx2{"expand_bf16_avx2", WeightType::kBf16, expand_row<Words>};
constexpr ExpandKernel expand_f16_avx2{"expand_f16_avx2", WeightType::kF16, expand_row<Floats<HalfValues>>};
constexpr ExpandKernel expand_i8_avx2{"expand_i8_avx2", WeightType::kI8, expand_row<Bytes>};

}  // namespace prune::kernels
