#include "kernels/sparse/simd/avx2.h"
#include "kernels/sparse/spmm_bitmask/float_kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kBitmaskGroupRows;
constexpr int kChunk = 32;

// For each byte of a mask: where lane j finds its value, counted from the next one in memory, or a negative
// number where weight j is zero.
struct ExpandTable {
  int8_t lanes[256][8];
};
constexpr ExpandTable make_expand_table() {
  ExpandTable table{};
  for (int mask = 0; mask < 256; ++mask) {
    for (int lane = 0, next = 0; lane < 8; ++lane) {
      table.lanes[mask][lane] = static_cast<int8_t>((mask >> lane & 1) != 0 ? next++ : -1);
    }
  }
  return table;
}
alignas(64) constexpr ExpandTable kExpand = make_expand_table();

PRUNE_INLINE __m256 expand(__m256 values, uint32_t mask) {
  const __m256i lanes =
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpand.lanes[mask])));
  // The blend takes zero where the lane number is negative, and vpermps ignores its sign.
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(values, lanes), _mm256_setzero_ps(),
                          _mm256_castsi256_ps(lanes));
}

template <class T>
struct Batch {
  static constexpr int kChunk = prune::kernels::kChunk, kMost = 2;

  template <int B>
  static void multiply(const BitmaskStream& stream, const float* x, int64_t n, float* sums) {
    __m256 acc[B][kRows];
    const T* values = static_cast<const T*>(stream.values);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) acc[i][r] = _mm256_setzero_ps();
    }
    for (int64_t c = 0; c < stream.chunks; ++c, x += n * kChunk) {
      prefetch_ahead(stream.masks + c * kRows);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const uint32_t mask = stream.masks[c * kRows + r];
        prefetch_ahead(values);
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const uint32_t byte = mask >> 8 * q & 0xff;
          const __m256 w = expand(Avx2F32::widen(values), byte);
          values += __builtin_popcount(byte);
#pragma GCC unroll 4
          for (int i = 0; i < B; ++i) {
            acc[i][r] = _mm256_fmadd_ps(w, _mm256_load_ps(x + i * kChunk + 8 * q), acc[i][r]);
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = horizontal_sum(acc[i][r]);
    }
  }
};

}  // namespace

constexpr BitmaskKernel bitmask_f32_avx2 = float_kernel<Batch<float>>("bitmask_f32_avx2", WeightType::kF32);
constexpr BitmaskKernel bitmask_bf16_avx2 =
    float_kernel<Batch<uint16_t>>("bitmask_bf16_avx2", WeightType::kBf16);
constexpr BitmaskKernel bitmask_i8_avx2 = float_kernel<Batch<int8_t>>("bitmask_i8_avx2", WeightType::kI8);

}  // namespace prune::kernels
