#include "kernels/sparse/simd/avx512.h"
#include "kernels/sparse/spmm_nm/group.h"

namespace prune::kernels {
namespace {

constexpr int kChunk = 32;
constexpr int kRows = kNm24QuadRows;

template <class T>
struct Step {
  using Value = T;
  using Input = float;
  static constexpr int kChunk = prune::kernels::kChunk, kMostBatch = 4, kLanes = 16;

  // Lane l takes input 4 (l / 2) + index l of the chunk's 32, one vpermi2ps.
  template <int B>
  static void multiply(const T* values, const uint32_t* indices, int64_t chunks, const float* x, int64_t n,
                       float* lanes, int64_t stride) {
    const __m512i shifts = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i groups = _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28);
    const __m512i three = _mm512_set1_epi32(3);
    const AheadByLevels<(B > 2)> ahead;
    __m512 acc[B][kRows];
    load_sums<B>(lanes, stride, acc);
    for (int64_t c = 0; c < chunks; ++c, x += n * kChunk) {
      ahead.ask_for(indices);
      __m512 x0[B], x1[B];
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) {
        x0[i] = _mm512_loadu_ps(x + i * kChunk);
        x1[i] = _mm512_loadu_ps(x + i * kChunk + 16);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r, values += kChunk / 2) {
        const __m512 w = Avx512F32::widen(values);
        ahead.ask_for(values);
        __m512i lane = _mm512_srlv_epi32(_mm512_set1_epi32(static_cast<int>(*indices++)), shifts);
        lane = _mm512_ternarylogic_epi32(lane, three, groups, 0xea);  // (lane & 3) | group
#pragma GCC unroll 4
        for (int i = 0; i < B; ++i)
          acc[i][r] = _mm512_fmadd_ps(_mm512_permutex2var_ps(x0[i], lane, x1[i]), w, acc[i][r]);
      }
    }
    store_sums<B>(acc, lanes, stride);
  }
  static float reduce(const float* lanes) { return _mm512_reduce_add_ps(_mm512_loadu_ps(lanes)); }
};

}  // namespace

constexpr Nm24Kernel nm24_f32_avx512 = float_kernel<Step<float>>("nm24_f32_avx512", WeightType::kF32);
constexpr Nm24Kernel nm24_bf16_avx512 = float_kernel<Step<uint16_t>>("nm24_bf16_avx512", WeightType::kBf16);
constexpr Nm24Kernel nm24_f16_avx512 = float_kernel<Step<Half>>("nm24_f16_avx512", WeightType::kF16);
constexpr Nm24Kernel nm24_i8_avx512 = float_kernel<Step<int8_t>>("nm24_i8_avx512", WeightType::kI8);

}  // namespace prune::kernels
