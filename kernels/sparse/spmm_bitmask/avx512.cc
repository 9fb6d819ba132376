#include "kernels/sparse/simd/avx512.h"
#include "kernels/sparse/spmm_bitmask/float_kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kBitmaskGroupRows;
constexpr int kChunk = 32;

// Zero that the compiler can't fold into the zero-masking form of an expand. On Zen 4 that form waits for the
// old value of its destination, which makes every expand wait for the one before.
PRUNE_INLINE __m512 fresh_zero() {
  __m512 zero;
  __asm__("vpxord %0, %0, %0" : "=v"(zero));
  return zero;
}

PRUNE_INLINE __m512 expand(const float* p, __mmask16 mask) {
  return _mm512_mask_expandloadu_ps(fresh_zero(), mask, p);
}
template <class T>
PRUNE_INLINE __m512 expand(const T* p, __mmask16 mask) {
  return _mm512_mask_expand_ps(fresh_zero(), mask, Avx512F32::widen(p));
}

template <class T>
struct Batch {
  static constexpr int kChunk = prune::kernels::kChunk, kMost = 4;

  template <int B>
  static void multiply(const BitmaskStream& stream, const float* x, int64_t n, float* sums) {
    const AheadByLevels<true> ahead;
    __m512 acc[B][kRows];
    const T* values = static_cast<const T*>(stream.values);
    const uint32_t* masks = stream.masks;
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) acc[i][r] = _mm512_setzero_ps();
    }
    for (int64_t c = 0; c < stream.chunks; ++c, x += n * kChunk, masks += kRows) {
      ahead.ask_for(masks);
      int64_t next = 0;  // so that one addition alone joins a chunk to the one before
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          const __mmask16 mask = static_cast<__mmask16>(masks[r] >> 16 * h);
          const __m512 w = expand(values + next, mask);
          if (h == 0) ahead.ask_for(values + next);
          next += __builtin_popcount(mask);
#pragma GCC unroll 4
          for (int i = 0; i < B; ++i) {
            acc[i][r] = _mm512_fmadd_ps(w, _mm512_load_ps(x + i * kChunk + 16 * h), acc[i][r]);
          }
        }
      }
      values += next;
    }
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = _mm512_reduce_add_ps(acc[i][r]);
    }
  }
};

}  // namespace

constexpr BitmaskKernel bitmask_f32_avx512 =
    float_kernel<Batch<float>>("bitmask_f32_avx512", WeightType::kF32);
constexpr BitmaskKernel bitmask_bf16_avx512 =
    float_kernel<Batch<uint16_t>>("bitmask_bf16_avx512", WeightType::kBf16);
constexpr BitmaskKernel bitmask_i8_avx512 = float_kernel<Batch<int8_t>>("bitmask_i8_avx512", WeightType::kI8);

}  // namespace prune::kernels
