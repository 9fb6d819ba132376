#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/spmm_nm/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kChunk = 64;
constexpr int kRows = kNm24GroupRows;

constexpr int32_t natural(int32_t p) { return p; }

void pack_x(const float* x, int64_t cols, int64_t chunks, void* packed) {
  round_inputs(x, cols, chunks * kChunk, packed);
}

// Words 0 .. 31: base + step * (l / every).
PRUNE_INLINE __m512i word_ramp(int every, int step) {
  uint16_t words[32];
  for (int l = 0; l < 32; ++l) words[l] = static_cast<uint16_t>(l / every * step);
  return _mm512_loadu_si512(words);
}

// B rows of X at once. Word l takes input 4 (l / 2) + index l of the chunk's 64: vpmultishiftqb brings the
// two bits of every word's index to its bottom, one vpermi2w fetches the inputs.
template <int B>
void multiply_batch(const Nm24Stream& stream, const uint16_t* x, float* sums) {
  const __m512i shifts = word_ramp(1, 2), groups = word_ramp(2, 4), three = _mm512_set1_epi16(3);
  const auto* values = static_cast<const uint16_t*>(stream.values);
  const int64_t x_stride = stream.chunks * kChunk;
  __m512 acc[B][kRows];
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = _mm512_setzero_ps();
  }
  for (int64_t c = 0; c < stream.chunks; ++c) {
    const uint16_t* in = x + c * kChunk;
    __m512i x0[B], x1[B];
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
      x0[i] = _mm512_loadu_si512(in + i * x_stride);
      x1[i] = _mm512_loadu_si512(in + i * x_stride + 32);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m512i w = _mm512_loadu_si512(values + r * stream.row_values + c * (kChunk / 2));
      const uint32_t* words = stream.indices + (c * kRows + r) * 2;
      const __m512i indices =
          _mm512_set1_epi64(static_cast<int64_t>(words[0] | static_cast<uint64_t>(words[1]) << 32));
      const __m512i lane =
          _mm512_ternarylogic_epi32(_mm512_multishift_epi64_epi8(shifts, indices), three, groups, 0xea);
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) {
        acc[i][r] = dot_pairs(acc[i][r], _mm512_permutex2var_epi16(x0[i], lane, x1[i]), w);
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = _mm512_reduce_add_ps(acc[i][r]);
  }
}

void multiply(const Nm24Stream& stream, const void* packed, int64_t n, float* sums) {
  const auto* x = static_cast<const uint16_t*>(packed);
  const int64_t x_stride = stream.chunks * kChunk;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) multiply_batch<4>(stream, x + i * x_stride, sums + i * kRows);
  for (; i + 2 <= n; i += 2) multiply_batch<2>(stream, x + i * x_stride, sums + i * kRows);
  if (i < n) multiply_batch<1>(stream, x + i * x_stride, sums + i * kRows);
}

}  // namespace

constexpr Nm24Kernel nm24_bf16_avx512bf16{.name = "nm24_bf16_avx512bf16",
                                          .type = WeightType::kBf16,
                                          .chunk = kChunk,
                                          .x_bytes = 2,
                                          .order = natural,
                                          .pack_x = pack_x,
                                          .multiply = multiply};

}  // namespace prune::kernels
