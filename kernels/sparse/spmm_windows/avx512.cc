#include "kernels/sparse/simd/avx512.h"
#include "kernels/sparse/spmm_windows/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kWindowRows;

PRUNE_INLINE float widen_one(float value) { return value; }
PRUNE_INLINE float widen_one(int8_t value) { return value; }
PRUNE_INLINE float widen_one(uint16_t bits) { return __builtin_bit_cast(float, uint32_t{bits} << 16); }

// The weights without a place, of B rows of X from sums on. Two sums, so that a product need not wait for the
// last.
template <class T, int B>
PRUNE_INLINE void add_tail(const WindowsStream& stream, const float* x, int64_t x_stride, float* sums) {
  const T* values = static_cast<const T*>(stream.tail_values);
  const uint16_t* columns = stream.tail_columns;
  for (int r = 0; r < kRows; ++r) {
    const int32_t count = stream.tail_counts[r];
    float even[B] = {}, odd[B] = {};
    int32_t j = 0;
    for (; j + 2 <= count; j += 2) {
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) {
        even[i] += widen_one(values[j]) * x[i * x_stride + columns[j]];
        odd[i] += widen_one(values[j + 1]) * x[i * x_stride + columns[j + 1]];
      }
    }
    if (j < count) {
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) even[i] += widen_one(values[j]) * x[i * x_stride + columns[j]];
    }
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) sums[i * kRows + r] += even[i] + odd[i];
    values += count;
    columns += count;
  }
}

template <class T, int B>
void multiply_batch(const WindowsStream& stream, const float* x, int64_t x_stride, float* sums) {
  const T* values = static_cast<const T*>(stream.values);
  const uint8_t* columns = stream.columns;
  __m512 acc[B][2];
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) acc[i][0] = acc[i][1] = _mm512_setzero_ps();
  const float* pair = x;
  for (int64_t p = 0; p < stream.pairs; ++p, pair += kWindowPair) {
    __m512 in[B][4];
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) in[i][q] = _mm512_loadu_ps(pair + i * x_stride + 16 * q);
    }
    for (int64_t s = 0; s < stream.steps; ++s) {
      prefetch_ahead(columns);
#pragma GCC unroll 2
      for (int w = 0; w < 2; ++w, values += kRows, columns += kRows) {
        prefetch_ahead(values);
        const __m512 weights = Avx512F32::widen(values);
        const __m512i lanes =
            _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(columns)));
#pragma GCC unroll 4
        for (int i = 0; i < B; ++i) {
          const __m512 found = _mm512_permutex2var_ps(in[i][2 * w], lanes, in[i][2 * w + 1]);
          acc[i][w] = _mm512_fmadd_ps(found, weights, acc[i][w]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) _mm512_storeu_ps(sums + i * kRows, _mm512_add_ps(acc[i][0], acc[i][1]));
  add_tail<T, B>(stream, x, x_stride, sums);
}

template <class T>
void multiply(const WindowsStream& stream, const float* x, int64_t x_stride, int64_t n, float* sums) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) multiply_batch<T, 4>(stream, x + i * x_stride, x_stride, sums + i * kRows);
  for (; i + 2 <= n; i += 2) multiply_batch<T, 2>(stream, x + i * x_stride, x_stride, sums + i * kRows);
  if (i < n) multiply_batch<T, 1>(stream, x + i * x_stride, x_stride, sums + i * kRows);
}

}  // namespace

constexpr WindowsKernel windows_f32_avx512{"windows_f32_avx512", WeightType::kF32, multiply<float>};
constexpr WindowsKernel windows_bf16_avx512{"windows_bf16_avx512", WeightType::kBf16, multiply<uint16_t>};
constexpr WindowsKernel windows_i8_avx512{"windows_i8_avx512", WeightType::kI8, multiply<int8_t>};

}  // namespace prune::kernels
