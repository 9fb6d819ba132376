#include <immintrin.h>

#include "kernels/sparse/plain/ahead.h"
#include "kernels/sparse/plain/kernel.h"
#include "kernels/sparse/simd/avx512bf16.h"

namespace prune::kernels {
namespace {

// kRows of the kGroupRows rows of a group. kAsks: for weights ahead.
template <int kB, int kRows, int kGroupRows, bool kAsks>
void multiply_batch(const uint16_t* const* rows, int64_t cols, const uint16_t* x, int64_t x_stride,
                    float* sums) {
  const SideBySide<kGroupRows> ahead(cols * 2);
  __m512 acc[kB][kRows];
#pragma GCC unroll 4
  for (int i = 0; i < kB; ++i) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) acc[i][r] = _mm512_setzero_ps();
  }
  const auto step = [&](int64_t k, auto&& fetch) {
    __m512i in[kB];
#pragma GCC unroll 4
    for (int i = 0; i < kB; ++i) in[i] = _mm512_loadu_si512(x + i * x_stride + k);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512i w = fetch(r);
#pragma GCC unroll 4
      for (int i = 0; i < kB; ++i) acc[i][r] = dot_pairs(acc[i][r], in[i], w);
    }
  };
  int64_t k = 0;
  for (; k + kPlainInputs <= cols; k += kPlainInputs) {
    if (kAsks) ahead.template ask_for<kRows>(rows, k * 2);
    step(k, [&](int r) { return _mm512_loadu_si512(rows[r] + k); });
  }
  if (k < cols) {
    const __mmask32 left = (1u << (cols - k)) - 1;
    step(k, [&](int r) { return _mm512_maskz_loadu_epi16(left, rows[r] + k); });
  }
#pragma GCC unroll 4
  for (int i = 0; i < kB; ++i) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[i * kGroupRows + r] = _mm512_reduce_add_ps(acc[i][r]);
  }
}

// One row of W after another, which is one stream through memory, against kB rows of X. kSets sums of each,
// so that a product need not wait for the one before.
template <int kB, int kSets>
void multiply_stream(const uint16_t* const* rows, int64_t cols, const uint16_t* x, int64_t x_stride,
                     float* sums) {
  for (int r = 0; r < 4; ++r) {
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
      sums[i * 4 + r] = _mm512_reduce_add_ps(acc[i][0]);
    }
  }
}

// Four rows of W, of a group of them or of more, against all rows of X. Of four rows or more the first ask
// for weights.
template <int kGroupRows, bool kAsks>
void multiply_four(const uint16_t* const* rows, int64_t cols, const uint16_t* x, int64_t x_stride, int64_t n,
                   float* sums) {
  int64_t i = 0;
  if (kAsks && n >= 4) {
    multiply_batch<4, 4, kGroupRows, true>(rows, cols, x, x_stride, sums);
    i = 4;
  }
  for (; i + 4 <= n; i += 4)
    multiply_batch<4, 4, kGroupRows, false>(rows, cols, x + i * x_stride, x_stride, sums + i * kGroupRows);
  for (; i + 2 <= n; i += 2)
    multiply_batch<2, 4, kGroupRows, false>(rows, cols, x + i * x_stride, x_stride, sums + i * kGroupRows);
  if (i < n)
    multiply_batch<1, 4, kGroupRows, false>(rows, cols, x + i * x_stride, x_stride, sums + i * kGroupRows);
}

template <int kRows>
struct Rows {
  explicit Rows(const void* const* rows) {
    for (int r = 0; r < kRows; ++r) typed[r] = static_cast<const uint16_t*>(rows[r]);
  }
  const uint16_t* typed[kRows];
};

// Few rows of X wait for memory, more for loads: four rows of W then share those of X.
void multiply(const void* const* rows, int64_t cols, const void* packed, int64_t x_stride, int64_t n,
              float* sums) {
  const Rows<4> w(rows);
  const auto* x = static_cast<const uint16_t*>(packed);
  if (n == 1) return multiply_stream<1, 4>(w.typed, cols, x, x_stride, sums);
  if (n == 2) return multiply_stream<2, 2>(w.typed, cols, x, x_stride, sums);
  multiply_four<4, false>(w.typed, cols, x, x_stride, n, sums);
}

// Eight rows of W share the loads of X of one row or two, which more rows of X do among themselves.
void multiply_eight(const void* const* rows, int64_t cols, const void* packed, int64_t x_stride, int64_t n,
                    float* sums) {
  const Rows<8> w(rows);
  const auto* x = static_cast<const uint16_t*>(packed);
  if (n == 1) return multiply_batch<1, 8, 8, true>(w.typed, cols, x, x_stride, sums);
  if (n == 2) return multiply_batch<2, 8, 8, true>(w.typed, cols, x, x_stride, sums);
  for (int r = 0; r < 8; r += 4) multiply_four<8, true>(w.typed + r, cols, x, x_stride, n, sums + r);
}

}  // namespace

constexpr PlainKernel plain_eight_bf16_avx512bf16{.name = "plain_eight_bf16_avx512bf16",
                                                  .type = WeightType::kBf16,
                                                  .group_rows = 8,
                                                  .in_halves = true,
                                                  .x_bytes = 2,
                                                  .pack_x = round_inputs,
                                                  .multiply = multiply_eight};
constexpr PlainKernel plain_bf16_avx512bf16{.name = "plain_bf16_avx512bf16",
                                            .type = WeightType::kBf16,
                                            .group_rows = 4,
                                            .in_halves = false,
                                            .x_bytes = 2,
                                            .pack_x = round_inputs,
                                            .multiply = multiply};

}  // namespace prune::kernels
