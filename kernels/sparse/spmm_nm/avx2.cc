#include "kernels/sparse/simd/avx2.h"
#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_nm/group.h"

namespace prune::kernels {
namespace {

constexpr int kChunk = 32;
constexpr int kRows = kNm24QuadRows;

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
PRUNE_INLINE void load_values(const Half* p, __m256 (&w)[2]) {
  for (int h = 0; h < 2; ++h)
    w[h] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8 * h)));
}
PRUNE_INLINE void load_values(const int8_t* p, __m256 (&w)[2]) {
  for (int h = 0; h < 2; ++h) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8 * h));
    w[h] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
}

template <class T>
struct Step {
  using Value = T;
  using Input = float;
  static constexpr int kChunk = prune::kernels::kChunk, kMostBatch = 2, kLanes = 8;

  // The decoded indices and widened values serve B rows of X.
  template <int B>
  static void multiply(const T* values, const uint32_t* indices, int64_t chunks, const float* x, int64_t n,
                       float* lanes, int64_t stride) {
    const __m256i low = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    const __m256i high = _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30);
    __m256 acc[B][kRows];
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) acc[i][r] = _mm256_loadu_ps(lanes + i * stride + r * kLanes);
    }
    for (int64_t c = 0; c < chunks; ++c, x += n * kChunk) {
      prefetch_ahead(indices);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r, values += kChunk / 2) {
        __m256 w[2];
        load_values(values, w);
        prefetch_ahead(values);
        const __m256i bits = _mm256_set1_epi32(static_cast<int>(*indices++));
        const __m256i first = _mm256_srlv_epi32(bits, low), second = _mm256_srlv_epi32(bits, high);
#pragma GCC unroll 4
        for (int i = 0; i < B; ++i) {
          const float* row = x + i * kChunk;
          const __m256 a = gather(_mm256_loadu_ps(row), _mm256_loadu_ps(row + 8), first);
          const __m256 b = gather(_mm256_loadu_ps(row + 16), _mm256_loadu_ps(row + 24), second);
          acc[i][r] = _mm256_fmadd_ps(b, w[1], _mm256_fmadd_ps(a, w[0], acc[i][r]));
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) _mm256_storeu_ps(lanes + i * stride + r * kLanes, acc[i][r]);
    }
  }
  static float reduce(const float* lanes) { return horizontal_sum(_mm256_loadu_ps(lanes)); }
};

template <class T>
constexpr Nm24Kernel make_kernel(const char* name, WeightType type, int32_t (*order)(int32_t)) {
  return {.name = name,
          .type = type,
          .chunk = kChunk,
          .x_bytes = 4,
          .order = order,
          .pack_chunk = pack_chunk,
          .multiply = multiply_group<Step<T>>};
}

// Lower halves first, then upper halves: position 2 i holds value i, position 2 i + 1 value 8 + i.
constexpr int32_t halves(int32_t p) { return p / 2 + p % 2 * 8; }

}  // namespace

constexpr Nm24Kernel nm24_f32_avx2 = make_kernel<float>("nm24_f32_avx2", WeightType::kF32, natural_order);
constexpr Nm24Kernel nm24_bf16_avx2 = make_kernel<uint16_t>("nm24_bf16_avx2", WeightType::kBf16, halves);
constexpr Nm24Kernel nm24_f16_avx2 = make_kernel<Half>("nm24_f16_avx2", WeightType::kF16, natural_order);
constexpr Nm24Kernel nm24_i8_avx2 = make_kernel<int8_t>("nm24_i8_avx2", WeightType::kI8, natural_order);

}  // namespace prune::kernels
