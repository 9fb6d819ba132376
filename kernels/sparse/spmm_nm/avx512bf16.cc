#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/spmm_nm/group.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kNm24QuadRows;
// Weights that a register of 32 values stands for.
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
  using Value = uint16_t;
  static constexpr int kHalves = 1;
  PRUNE_INLINE void widen(const uint16_t* p, __m512i (&w)[1]) const { w[0] = _mm512_loadu_si512(p); }
};

// Signs and magnitudes, 128 weights a chunk.
struct Int8Values {
  using Value = uint8_t;
  static constexpr int kHalves = 2;
  SignMagnitude decoder;
  PRUNE_INLINE void widen(const uint8_t* p, __m512i (&w)[2]) const {
    decoder.widen(_mm512_loadu_si512(p), w);
  }
};

template <class Values>
struct Step {
  using Value = typename Values::Value;
  using Input = uint16_t;
  static constexpr int kHalves = Values::kHalves, kChunk = kHalves * kHalf, kMostBatch = 4, kLanes = 16;

  // Word l of a register of values takes input 4 (l / 2) + index l of its 64: vpmultishiftqb brings the two
  // bits of every word's index to its bottom, one vpermi2w fetches the inputs.
  template <int B>
  static void multiply(const Value* values, const uint32_t* words, int64_t chunks, const uint16_t* x,
                       int64_t n, float* lanes, int64_t stride) {
    const __m512i shifts = word_ramp(1, 2), groups = word_ramp(2, 4), three = _mm512_set1_epi16(3);
    const Values decoder;
    const AheadByLevels<(kHalves == 1 ? B > 1 : B <= 2)> ahead;
    __m512 acc[B][kRows];
    load_sums<B>(lanes, stride, acc);
    for (int64_t c = 0; c < chunks; ++c, x += n * kChunk) {
      ahead.ask_for(words);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r, values += kChunk / 2) {
        __m512i w[kHalves];
        decoder.widen(values, w);
        ahead.ask_for(values);
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
    store_sums<B>(acc, lanes, stride);
  }
  static float reduce(const float* lanes) { return _mm512_reduce_add_ps(_mm512_loadu_ps(lanes)); }
};

}  // namespace

constexpr Nm24Kernel nm24_bf16_avx512bf16{.name = "nm24_bf16_avx512bf16",
                                          .type = WeightType::kBf16,
                                          .chunk = kHalf,
                                          .x_bytes = 2,
                                          .order = natural,
                                          .pack_chunk = pack_chunk<kHalf>,
                                          .multiply = multiply_group<Step<Bf16Values>>};
constexpr Nm24Kernel nm24_i8_avx512bf16{.name = "nm24_i8_avx512bf16",
                                        .type = WeightType::kI8,
                                        .chunk = 2 * kHalf,
                                        .x_bytes = 2,
                                        .sign_magnitude = true,
                                        .order = unpacked_place,
                                        .pack_chunk = pack_chunk<2 * kHalf>,
                                        .multiply = multiply_group<Step<Int8Values>>};

}  // namespace prune::kernels
