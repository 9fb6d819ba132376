#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/spmm_bitmask/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kBitmaskGroupRows;

void pack_x(const float* x, int64_t cols, int64_t chunks, void* packed) {
  round_inputs(x, cols, chunks * kBitmaskChunk, packed);
}

PRUNE_INLINE __m512i expand(const uint16_t* p, __mmask32 mask) {
  // A zero that the compiler can't fold into the zero-masking form, which waits for its destination on Zen 4.
  __m512i zero;
  __asm__("vpxord %0, %0, %0" : "=v"(zero));
  return _mm512_mask_expandloadu_epi16(zero, mask, p);
}

template <int B>
void multiply_batch(const BitmaskStream& stream, const uint16_t* x, float* sums) {
  const int64_t x_stride = stream.chunks * kBitmaskChunk;
  __m512 acc[B][kRows];
  const uint16_t* values[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    values[r] = static_cast<const uint16_t*>(stream.values[r]);
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) acc[i][r] = _mm512_setzero_ps();
  }
  for (int64_t c = 0; c < stream.chunks; ++c) {
    const uint16_t* in = x + c * kBitmaskChunk;
    __m512i inputs[B];
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) inputs[i] = _mm512_loadu_si512(in + i * x_stride);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const uint32_t mask = stream.masks[c * kRows + r];
      const __m512i w = expand(values[r], mask);
      values[r] += __builtin_popcount(mask);
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) acc[i][r] = dot_pairs(acc[i][r], inputs[i], w);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = _mm512_reduce_add_ps(acc[i][r]);
  }
}

void multiply(const BitmaskStream& stream, const void* packed, int64_t n, float* sums) {
  const auto* x = static_cast<const uint16_t*>(packed);
  const int64_t x_stride = stream.chunks * kBitmaskChunk;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) multiply_batch<4>(stream, x + i * x_stride, sums + i * kRows);
  for (; i + 2 <= n; i += 2) multiply_batch<2>(stream, x + i * x_stride, sums + i * kRows);
  if (i < n) multiply_batch<1>(stream, x + i * x_stride, sums + i * kRows);
}

}  // namespace

constexpr BitmaskKernel bitmask_bf16_avx512bf16{.name = "bitmask_bf16_avx512bf16",
                                                .type = WeightType::kBf16,
                                                .x_bytes = 2,
                                                .pack_x = pack_x,
                                                .multiply = multiply};

}  // namespace prune::kernels
