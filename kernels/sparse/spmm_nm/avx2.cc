#include "kernels/sparse/simd/avx2.h"
#include "kernels/sparse/spmm_nm/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kChunk = 32;
constexpr int kRows = kNm24GroupRows;

// Eight values belong to four groups of inputs, two to a group. vpermilps permutes within 128 bits, so the
// inputs lie as [group 0 | group 2] and [group 1 | group 3]: each half register then gives two of the values
// their inputs, and a blend joins the two registers.
void pack_chunk(const float* x, int64_t cols, void* packed) {
  float in[kChunk];
  for (int64_t k = 0; k < kChunk; ++k) in[k] = k < cols ? x[k] : 0.0f;
  float* out = static_cast<float*>(packed);
  for (int k = 0; k < kChunk; k += 16) {
    _mm_storeu_ps(out + k, _mm_loadu_ps(in + k));
    _mm_storeu_ps(out + k + 4, _mm_loadu_ps(in + k + 8));
    _mm_storeu_ps(out + k + 8, _mm_loadu_ps(in + k + 4));
    _mm_storeu_ps(out + k + 12, _mm_loadu_ps(in + k + 12));
  }
}

PRUNE_INLINE __m256 gather(__m256 even_groups, __m256 odd_groups, __m256i indices) {
  // vpermilps looks at the low two bits of each element alone.
  return _mm256_blend_ps(_mm256_permutevar_ps(even_groups, indices),
                         _mm256_permutevar_ps(odd_groups, indices), 0xcc);
}

// The sixteen values of a chunk as two registers, in natural order.
PRUNE_INLINE void load_values(const float* p, __m256 (&w)[2]) {
  w[0] = _mm256_loadu_ps(p);
  w[1] = _mm256_loadu_ps(p + 8);
}
// Values 0..7 lie in the lower and 8..15 in the upper half of each 32 bits, so widening is a shift and a
// mask.
PRUNE_INLINE void load_values(const uint16_t* p, __m256 (&w)[2]) {
  const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  w[0] = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
  w[1] = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
PRUNE_INLINE void load_values(const int8_t* p, __m256 (&w)[2]) {
  for (int h = 0; h < 2; ++h) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8 * h));
    w[h] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
}

// B of n rows of X at once: the decoded indices and widened values serve all of them.
template <class T, int B>
void multiply_batch(const Nm24Stream& stream, const float* x, int64_t n, float* sums) {
  const __m256i low = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
  const __m256i high = _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30);
  const T* values = static_cast<const T*>(stream.values);
  __m256 acc[B][kRows];
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = _mm256_setzero_ps();
  }
  for (int64_t c = 0; c < stream.chunks; ++c, x += n * kChunk) {
    prefetch_ahead(stream.indices + c * kRows);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      __m256 w[2];
      const T* from = values + (c * kRows + r) * (kChunk / 2);
      load_values(from, w);
      prefetch_ahead(from);
      const __m256i indices = _mm256_set1_epi32(static_cast<int>(stream.indices[c * kRows + r]));
      const __m256i first = _mm256_srlv_epi32(indices, low), second = _mm256_srlv_epi32(indices, high);
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) {
        const float* row = x + i * kChunk;
        const __m256 a = gather(_mm256_load_ps(row), _mm256_load_ps(row + 8), first);
        const __m256 b = gather(_mm256_load_ps(row + 16), _mm256_load_ps(row + 24), second);
        acc[i][r] = _mm256_fmadd_ps(b, w[1], _mm256_fmadd_ps(a, w[0], acc[i][r]));
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = horizontal_sum(acc[i][r]);
  }
}

template <class T>
void multiply(const Nm24Stream& stream, const void* packed, int64_t n, float* sums) {
  const float* x = static_cast<const float*>(packed);
  int64_t i = 0;
  for (; i + 2 <= n; i += 2) multiply_batch<T, 2>(stream, x + i * kChunk, n, sums + i * kRows);
  if (i < n) multiply_batch<T, 1>(stream, x + i * kChunk, n, sums + i * kRows);
}

template <class T>
constexpr Nm24Kernel make_kernel(const char* name, WeightType type, int32_t (*order)(int32_t)) {
  return {.name = name,
          .type = type,
          .chunk = kChunk,
          .x_bytes = 4,
          .order = order,
          .pack_chunk = pack_chunk,
          .multiply = multiply<T>};
}

constexpr int32_t natural(int32_t p) { return p; }
// Lower halves first, then upper halves: position 2 i holds value i, position 2 i + 1 value 8 + i.
constexpr int32_t halves(int32_t p) { return p / 2 + p % 2 * 8; }

}  // namespace

constexpr Nm24Kernel nm24_f32_avx2 = make_kernel<float>("nm24_f32_avx2", WeightType::kF32, natural);
constexpr Nm24Kernel nm24_bf16_avx2 = make_kernel<uint16_t>("nm24_bf16_avx2", WeightType::kBf16, halves);
constexpr Nm24Kernel nm24_i8_avx2 = make_kernel<int8_t>("nm24_i8_avx2", WeightType::kI8, natural);

}  // namespace prune::kernels
