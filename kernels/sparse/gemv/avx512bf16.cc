#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/gemv/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kGemvGroupRows;

void pack_unpacked(const float* x, int64_t cols, void* packed) {
  uint16_t natural[kGemvChunk];
  round_inputs(x, cols, kGemvChunk, natural);
  for (int p = 0; p < kGemvChunk; ++p) static_cast<uint16_t*>(packed)[unpacked_place(p)] = natural[p];
}

// B of n rows of X at once.
template <int B>
void multiply_batch(const uint8_t* values, int64_t chunks, const uint16_t* x, int64_t n, float* sums) {
  const SignMagnitude decoder;
  const bool second_level = isa::works_in_halves();  // whose first-level cache X and a row fill
  __m512 acc[B][kRows];
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = _mm512_setzero_ps();
  }
  for (int64_t c = 0; c < chunks; ++c, x += n * kGemvChunk) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r, values += kGemvChunk) {
      __m512i w[2];
      decoder.widen(_mm512_loadu_si512(values), w);
      if (second_level) {
        prefetch_second_level(values, 2 * kBytesAhead);
      } else {
        prefetch_ahead(values);
      }
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) {
        acc[i][r] = dot_pairs(acc[i][r], _mm512_loadu_si512(x + i * kGemvChunk), w[0]);
        acc[i][r] = dot_pairs(acc[i][r], _mm512_loadu_si512(x + i * kGemvChunk + 32), w[1]);
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = _mm512_reduce_add_ps(acc[i][r]);
  }
}

void multiply(const void* packed, int64_t chunks, const void* inputs, int64_t n, float* sums) {
  const auto* values = static_cast<const uint8_t*>(packed);
  const auto* x = static_cast<const uint16_t*>(inputs);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) multiply_batch<4>(values, chunks, x + i * kGemvChunk, n, sums + i * kRows);
  for (; i + 2 <= n; i += 2) multiply_batch<2>(values, chunks, x + i * kGemvChunk, n, sums + i * kRows);
  if (i < n) multiply_batch<1>(values, chunks, x + i * kGemvChunk, n, sums + i * kRows);
}

}  // namespace

constexpr GemvKernel gemv_i8_avx512bf16{.name = "gemv_i8_avx512bf16",
                                        .x_bytes = 2,
                                        .sign_magnitude = true,
                                        .pack_chunk = pack_unpacked,
                                        .multiply = multiply};

}  // namespace prune::kernels
