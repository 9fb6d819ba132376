#include "kernels/sparse/simd/avx2_values.h"
#include "kernels/sparse/spmm_bitmask/float_kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kBitmaskGroupRows;
constexpr int kChunk = 32;

template <class Values>
struct Batch {
  static constexpr int kChunk = prune::kernels::kChunk, kMost = 2;

  template <int B>
  static void multiply(const BitmaskStream& stream, const float* x, int64_t n, float* sums) {
    __m256 acc[B][kRows];
    const auto* values = static_cast<const typename Values::Value*>(stream.values);
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
#pragma GCC unroll 2
        for (int part = 0; part < 2; ++part) {
          const uint32_t places = part == 0 ? mask & 0xffff : mask >> 16;
          __m256 w[2];
          Values::spread(values, places, w);
          values += __builtin_popcount(places);
#pragma GCC unroll 4
          for (int i = 0; i < B; ++i) {
            const float* in = x + i * kChunk + 16 * part;
            acc[i][r] = _mm256_fmadd_ps(w[0], _mm256_load_ps(in), acc[i][r]);
            acc[i][r] = _mm256_fmadd_ps(w[1], _mm256_load_ps(in + 8), acc[i][r]);
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

template <class Values>
void pack_chunk(const float* x, int64_t cols, void* packed) {
  pack_inputs<typename Values::OfPlaces>(x, cols, kChunk, packed);
}

template <class Values>
constexpr BitmaskKernel kernel(const char* name, WeightType type) {
  BitmaskKernel made = float_kernel<Batch<Values>>(name, type);
  made.pack_chunk = pack_chunk<Values>;
  return made;
}

}  // namespace

constexpr BitmaskKernel bitmask_f32_avx2 = kernel<FloatValues>("bitmask_f32_avx2", WeightType::kF32);
constexpr BitmaskKernel bitmask_bf16_avx2 = kernel<Bf16Values>("bitmask_bf16_avx2", WeightType::kBf16);
constexpr BitmaskKernel bitmask_i8_avx2 = kernel<Int8Values>("bitmask_i8_avx2", WeightType::kI8);

}  // namespace prune::kernels
