#include <immintrin.h>

#include "kernels/sparse/plain/kernel.h"
#include "kernels/sparse/simd/avx512bf16.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kPlainGroupRows;

template <int kB>
PRUNE_INLINE void step(__m512 (&acc)[kB][kRows], const uint16_t* x, int64_t x_stride,
                       const __m512i (&w)[kRows]) {
#pragma GCC unroll 4
  for (int i = 0; i < kB; ++i) {
    const __m512i in = _mm512_loadu_si512(x + i * x_stride);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = dot_pairs(acc[i][r], in, w[r]);
  }
}

template <int kB>
void multiply_batch(const uint16_t* const* rows, int64_t cols, const uint16_t* x, int64_t x_stride,
                    float* sums) {
  __m512 acc[kB][kRows];
#pragma GCC unroll 4
  for (int i = 0; i < kB; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = _mm512_setzero_ps();
  }
  __m512i w[kRows];
  int64_t k = 0;
  for (; k + kPlainInputs <= cols; k += kPlainInputs) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) w[r] = _mm512_loadu_si512(rows[r] + k);
    step<kB>(acc, x + k, x_stride, w);
  }
  if (k < cols) {
    const __mmask32 left = (1u << (cols - k)) - 1;
    for (int r = 0; r < kRows; ++r) w[r] = _mm512_maskz_loadu_epi16(left, rows[r] + k);
    step<kB>(acc, x + k, x_stride, w);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kB; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = _mm512_reduce_add_ps(acc[i][r]);
  }
}

// One row of W after another, which is one stream through memory, against kB rows of X. kSets sums of each,
// so that a product need not wait for the one before.
template <int kB, int kSets>
void multiply_stream(const uint16_t* const* rows, int64_t cols, const uint16_t* x, int64_t x_stride,
                     float* sums) {
  for (int r = 0; r < kRows; ++r) {
    const uint16_t* row = rows[r];
    __m512 acc[kB][kSets];
#pragma GCC unroll 4
    for (int i = 0; i < kB; ++i) {
#pragma GCC unroll 4
      for (int s = 0; s < kSets; ++s) acc[i][s] = _mm512_setzero_ps();
    }
    int64_t k = 0;
    for (; k + kSets * kPlainInputs <= cols; k += kSets * kPlainInputs) {
#pragma GCC unroll 4
      for (int s = 0; s < kSets; ++s) {
        const __m512i w = _mm512_loadu_si512(row + k + s * kPlainInputs);
#pragma GCC unroll 4
        for (int i = 0; i < kB; ++i)
          acc[i][s] = dot_pairs(acc[i][s], _mm512_loadu_si512(x + i * x_stride + k + s * kPlainInputs), w);
      }
    }
    for (; k < cols; k += kPlainInputs) {
      const __mmask32 left = cols - k >= kPlainInputs ? ~0u : (1u << (cols - k)) - 1;
      const __m512i w = _mm512_maskz_loadu_epi16(left, row + k);
#pragma GCC unroll 4
      for (int i = 0; i < kB; ++i)
        acc[i][0] = dot_pairs(acc[i][0], _mm512_loadu_si512(x + i * x_stride + k), w);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kB; ++i) {
#pragma GCC unroll 4
      for (int s = 1; s < kSets; ++s) acc[i][0] = _mm512_add_ps(acc[i][0], acc[i][s]);
      sums[i * kRows + r] = _mm512_reduce_add_ps(acc[i][0]);
    }
  }
}

// Few rows of X wait for memory, more for loads: four rows of W then share those of X.
void multiply(const void* const* rows, int64_t cols, const void* packed, int64_t x_stride, int64_t n,
              float* sums) {
  const uint16_t* typed[kRows];
  for (int r = 0; r < kRows; ++r) typed[r] = static_cast<const uint16_t*>(rows[r]);
  const auto* x = static_cast<const uint16_t*>(packed);
  if (n == 1) return multiply_stream<1, 4>(typed, cols, x, x_stride, sums);
  if (n == 2) return multiply_stream<2, 2>(typed, cols, x, x_stride, sums);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) multiply_batch<4>(typed, cols, x + i * x_stride, x_stride, sums + i * kRows);
  for (; i + 2 <= n; i += 2) multiply_batch<2>(typed, cols, x + i * x_stride, x_stride, sums + i * kRows);
  if (i < n) multiply_batch<1>(typed, cols, x + i * x_stride, x_stride, sums + i * kRows);
}

}  // namespace

constexpr PlainKernel plain_bf16_avx512bf16{.name = "plain_bf16_avx512bf16",
                                            .type = WeightType::kBf16,
                                            .x_bytes = 2,
                                            .pack_x = round_inputs,
                                            .multiply = multiply};

}  // namespace prune::kernels
