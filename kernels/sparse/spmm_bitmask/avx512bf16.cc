#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/spmm_bitmask/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kBitmaskGroupRows;

// 32 weights a chunk.
struct Bf16Values {
  static constexpr int kHalves = 1;
  using Value = uint16_t;
  // Spreads the next values by the mask and returns how many there were.
  PRUNE_INLINE int64_t expand(const uint16_t* p, const uint32_t* masks, __m512i (&w)[1]) const {
    w[0] = _mm512_mask_expand_epi16(fresh_zero(), masks[0], _mm512_loadu_si512(p));
    return __builtin_popcount(masks[0]);
  }
};

// 64 weights a chunk, as signs and magnitudes.
struct Int8Values {
  static constexpr int kHalves = 2;
  using Value = uint8_t;
  SignMagnitude decoder;
  PRUNE_INLINE int64_t expand(const uint8_t* p, const uint32_t* masks, __m512i (&w)[2]) const {
    const uint64_t mask = masks[0] | static_cast<uint64_t>(masks[1]) << 32;
    decoder.widen(_mm512_mask_expand_epi8(fresh_zero(), mask, _mm512_loadu_si512(p)), w);
    return __builtin_popcountll(mask);
  }
};

void pack_chunk32(const float* x, int64_t cols, void* packed) { round_inputs(x, cols, 32, packed); }

// The order in which signs and magnitudes come out.
void pack_chunk64(const float* x, int64_t cols, void* packed) {
  uint16_t natural[64];
  round_inputs(x, cols, 64, natural);
  for (int p = 0; p < 64; ++p) static_cast<uint16_t*>(packed)[unpacked_place(p)] = natural[p];
}

// B of n rows of X at once.
template <class Values, int B>
void multiply_batch(const BitmaskStream& stream, const uint16_t* x, int64_t n, float* sums) {
  constexpr int kHalves = Values::kHalves, kChunk = 32 * kHalves;
  const Values decoder;
  const AheadByLevels<kHalves == 1> ahead;
  const auto* values = static_cast<const typename Values::Value*>(stream.values);
  const uint32_t* masks = stream.masks;
  __m512 acc[B][kRows];
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[i][r] = _mm512_setzero_ps();
  }
  for (int64_t c = 0; c < stream.chunks; ++c, x += n * kChunk) {
    ahead.ask_for(masks);
    int64_t next = 0;  // so that one addition alone joins a chunk to the one before
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r, masks += kHalves) {
      __m512i w[kHalves];
      if (r % 2 == 0) ahead.ask_for(values + next);  // two rows of half their weights are a line
      next += decoder.expand(values + next, masks, w);
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) {
#pragma GCC unroll 2
        for (int h = 0; h < kHalves; ++h)
          acc[i][r] = dot_pairs(acc[i][r], _mm512_loadu_si512(x + i * kChunk + 32 * h), w[h]);
      }
    }
    values += next;
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = _mm512_reduce_add_ps(acc[i][r]);
  }
}

template <class Values>
void multiply(const BitmaskStream& stream, const void* packed, int64_t n, float* sums) {
  constexpr int kChunk = 32 * Values::kHalves;
  const auto* x = static_cast<const uint16_t*>(packed);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) multiply_batch<Values, 4>(stream, x + i * kChunk, n, sums + i * kRows);
  for (; i + 2 <= n; i += 2) multiply_batch<Values, 2>(stream, x + i * kChunk, n, sums + i * kRows);
  if (i < n) multiply_batch<Values, 1>(stream, x + i * kChunk, n, sums + i * kRows);
}

}  // namespace

constexpr BitmaskKernel bitmask_bf16_avx512bf16{.name = "bitmask_bf16_avx512bf16",
                                                .type = WeightType::kBf16,
                                                .chunk = 32,
                                                .x_bytes = 2,
                                                .pack_chunk = pack_chunk32,
                                                .multiply = multiply<Bf16Values>};
constexpr BitmaskKernel bitmask_i8_avx512bf16{.name = "bitmask_i8_avx512bf16",
                                              .type = WeightType::kI8,
                                              .chunk = 64,
                                              .x_bytes = 2,
                                              .sign_magnitude = true,
                                              .pack_chunk = pack_chunk64,
                                              .multiply = multiply<Int8Values>};

}  // namespace prune::kernels
