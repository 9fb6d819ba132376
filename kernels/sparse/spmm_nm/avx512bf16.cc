#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/spmm_nm/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kNm24GroupRows;
// Words of 32 bits of indices that belong to a register of 32 values, which stand for 64 weights.
constexpr int kHalf = 64;

constexpr int32_t natural(int32_t p) { return p; }

template <int Chunk>
void pack_chunk(const float* x, int64_t cols, void* packed) {
  round_inputs(x, cols, Chunk, packed);
}

// Words 0 .. 31: base + step * (l / every).
PRUNE_INLINE __m512i word_ramp(int every, int step) {
  uint16_t words[32];
  for (int l = 0; l < 32; ++l) words[l] = static_cast<uint16_t>(l / every * step);
  return _mm512_loadu_si512(words);
}

// Weights as they lie, 64 a chunk.
struct Bf16Values {
  static constexpr int kHalves = 1;
  static constexpr int kBytes = 64;
  PRUNE_INLINE void widen(const char* p, __m512i (&w)[1]) const { w[0] = _mm512_loadu_si512(p); }
};

// Signs and magnitudes, 128 weights a chunk.
struct Int8Values {
  static constexpr int kHalves = 2;
  static constexpr int kBytes = 64;
  SignMagnitude decoder;
  PRUNE_INLINE void widen(const char* p, __m512i (&w)[2]) const { decoder.widen(_mm512_loadu_si512(p), w); }
};

// B of n rows of X at once. Word l of a register of values takes input 4 (l / 2) + index l of its 64:
// vpmultishiftqb brings the two bits of every word's index to its bottom, one vpermi2w fetches the inputs.
template <class Values, int B>
void multiply_batch(const Nm24Stream& stream, const uint16_t* x, int64_t n, float* sums) {
  constexpr int kHalves = Values::kHalves, kChunk = kHalves * kHalf;
  const __m512i shifts = word_ramp(1, 2), groups = word_ramp(2, 4), three = _mm512_set1_epi16(3);
  const Values decoder;
  const char* values = static_cast<const char*>(stream.values);
  const uint32_t* words = stream.indices;
  __m512 acc[B][kRows];
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = _mm512_setzero_ps();
  }
  for (int64_t c = 0; c < stream.chunks; ++c, x += n * kChunk) {
    prefetch_ahead(words);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      __m512i w[kHalves];
      decoder.widen(values, w);
      prefetch_ahead(values);
      values += Values::kBytes;
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h, words += 2) {
        const __m512i indices =
            _mm512_set1_epi64(static_cast<int64_t>(words[0] | static_cast<uint64_t>(words[1]) << 32));
        const __m512i lane =
            _mm512_ternarylogic_epi32(_mm512_multishift_epi64_epi8(shifts, indices), three, groups, 0xea);
#pragma GCC unroll 4
        for (int i = 0; i < B; ++i) {
          const uint16_t* in = x + i * kChunk + h * kHalf;
          const __m512i gathered =
              _mm512_permutex2var_epi16(_mm512_loadu_si512(in), lane, _mm512_loadu_si512(in + 32));
          acc[i][r] = dot_pairs(acc[i][r], gathered, w[h]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = _mm512_reduce_add_ps(acc[i][r]);
  }
}

template <class Values>
void multiply(const Nm24Stream& stream, const void* packed, int64_t n, float* sums) {
  constexpr int kChunk = Values::kHalves * kHalf;
  const auto* x = static_cast<const uint16_t*>(packed);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) multiply_batch<Values, 4>(stream, x + i * kChunk, n, sums + i * kRows);
  for (; i + 2 <= n; i += 2) multiply_batch<Values, 2>(stream, x + i * kChunk, n, sums + i * kRows);
  if (i < n) multiply_batch<Values, 1>(stream, x + i * kChunk, n, sums + i * kRows);
}

}  // namespace

constexpr Nm24Kernel nm24_bf16_avx512bf16{.name = "nm24_bf16_avx512bf16",
                                          .type = WeightType::kBf16,
                                          .chunk = kHalf,
                                          .x_bytes = 2,
                                          .order = natural,
                                          .pack_chunk = pack_chunk<kHalf>,
                                          .multiply = multiply<Bf16Values>};
constexpr Nm24Kernel nm24_i8_avx512bf16{.name = "nm24_i8_avx512bf16",
                                        .type = WeightType::kI8,
                                        .chunk = 2 * kHalf,
                                        .x_bytes = 2,
                                        .sign_magnitude = true,
                                        .order = unpacked_place,
                                        .pack_chunk = pack_chunk<2 * kHalf>,
                                        .multiply = multiply<Int8Values>};

}  // namespace prune::kernels
