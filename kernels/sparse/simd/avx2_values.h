// Sixteen packed weights as two registers of floats, and inputs in the order in which they meet them.
#pragma once

#include "kernels/sparse/simd/avx2.h"
#include "kernels/sparse/simd/widen.h"

namespace prune::kernels {
namespace {

// The order of values that two registers of eight hold, and by kFours that of inputs which meet it: where the
// fours of 32 inputs are found that lie one behind the other in packed X. OfPlaces is for weights that stand
// in their places. OfNm24 is for 2:4, where vpermilps permutes within 128 bits: eight inputs are of two
// groups, [group a | group b], and the next eight [group a + 1 | group b + 1].

// Registers of values 0 .. 7 and 8 .. 15.
struct Natural {
  struct OfPlaces {
    static constexpr int kFours[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  };
  struct OfNm24 {
    static constexpr int kFours[8] = {0, 2, 1, 3, 4, 6, 5, 7};
  };
  static constexpr int value_in(int h, int lane) { return 8 * h + lane; }
};
// As unpacking within 128 bits gives them: values 0 .. 3 and 8 .. 11, then the others.
struct Unpacked {
  struct OfPlaces {
    static constexpr int kFours[8] = {0, 2, 1, 3, 4, 6, 5, 7};
  };
  struct OfNm24 {
    static constexpr int kFours[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  };
  static constexpr int value_in(int h, int lane) { return lane / 4 * 8 + 4 * h + lane % 4; }
};

// Inputs in an order of the above; padded: a multiple of 32.
template <class Order>
void pack_inputs(const float* x, int64_t cols, int64_t padded, void* packed) {
  float* out = static_cast<float*>(packed);
  for (int64_t k = 0; k < padded; k += 32, out += 32) {
    float rest[32];
    const float* in = x + k;
    if (k + 32 > cols) {
      for (int64_t j = 0; j < 32; ++j) rest[j] = k + j < cols ? x[k + j] : 0.0F;
      in = rest;
    }
#pragma GCC unroll 8
    for (int four = 0; four < 8; ++four)
      _mm_storeu_ps(out + 4 * four, _mm_loadu_ps(in + 4 * Order::kFours[four]));
  }
}

// What a byte of a bitmask makes of the values that lie next in memory, as a shuffle of their bytes: the
// place of each weight's value, or a negative number where it is zero.
template <int Bytes>
struct SpreadTable {
  alignas(64) int8_t bytes[256][8 * Bytes];
  constexpr SpreadTable() : bytes() {
    for (int mask = 0; mask < 256; ++mask) {
      for (int lane = 0, next = 0; lane < 8; ++lane) {
        const bool stays = (mask >> lane & 1) != 0;
        for (int b = 0; b < Bytes; ++b)
          bytes[mask][lane * Bytes + b] = static_cast<int8_t>(stays ? next * Bytes + b : -128);
        next += stays ? 1 : 0;
      }
    }
  }
};
inline constexpr SpreadTable<1> kSpreadBytes;
inline constexpr SpreadTable<2> kSpreadWords;

PRUNE_INLINE __m128i load_eight_bytes(const int8_t* p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}
template <class T>
PRUNE_INLINE __m128i load_sixteen_bytes(const T* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
PRUNE_INLINE __m256i join(__m128i low, __m128i high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

// Sixteen weights that a word of a mask chooses: where their shuffles lie in a table of E bytes an entry, and
// from which value on the second eight are taken.
template <int E>
struct MaskWord {
  uint32_t first, second;
  int64_t low;
  PRUNE_INLINE explicit MaskWord(uint32_t mask)
      : first((mask & 0xff) * E), second((mask >> 8 & 0xff) * E), low(__builtin_popcount(mask & 0xff)) {}
};

// Sixteen words, spread.
template <class T>
PRUNE_INLINE __m256i spread_words(const T* p, uint32_t mask) {
  const MaskWord<16> at(mask);
  const int8_t* table = kSpreadWords.bytes[0];
  return _mm256_shuffle_epi8(
      join(load_sixteen_bytes(p), load_sixteen_bytes(p + at.low)),
      join(load_sixteen_bytes(table + at.first), load_sixteen_bytes(table + at.second)));
}

// Types of values: load() widens eight of the next sixteen, h = 0 or 1; spread() puts the next ones where a
// mask of 16 bits says, and reads eight values from the first on and eight from where the upper byte's begin.
struct FloatValues : Natural {
  using Value = float;
  PRUNE_INLINE static __m256 load(const Value* p, int h) { return _mm256_loadu_ps(p + 8 * h); }
  // vpermps ignores the sign of a lane's number, by which the blend takes zero.
  PRUNE_INLINE static __m256 spread_eight(const Value* p, uint32_t entry) {
    const __m256i lanes = _mm256_cvtepi8_epi32(load_eight_bytes(kSpreadBytes.bytes[0] + entry));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(p), lanes), _mm256_setzero_ps(),
                            _mm256_castsi256_ps(lanes));
  }
  PRUNE_INLINE static void spread(const Value* p, uint32_t mask, __m256 (&w)[2]) {
    const MaskWord<8> at(mask);
    w[0] = spread_eight(p, at.first);
    w[1] = spread_eight(p + at.low, at.second);
  }
};

struct Bf16Values : Unpacked {
  using Value = uint16_t;
  PRUNE_INLINE static __m256 widen(__m256i words, int h) {
    const __m256i zero = _mm256_setzero_si256();
    return _mm256_castsi256_ps(h == 0 ? _mm256_unpacklo_epi16(zero, words)
                                      : _mm256_unpackhi_epi16(zero, words));
  }
  PRUNE_INLINE static __m256 load(const Value* p, int h) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), h);
  }
  PRUNE_INLINE static void spread(const Value* p, uint32_t mask, __m256 (&w)[2]) {
    const __m256i words = spread_words(p, mask);
    w[0] = widen(words, 0);
    w[1] = widen(words, 1);
  }
};

struct HalfValues : Natural {
  using Value = Half;
  PRUNE_INLINE static __m256 load(const Value* p, int h) {
    return _mm256_cvtph_ps(load_sixteen_bytes(p + 8 * h));
  }
  PRUNE_INLINE static void spread(const Value* p, uint32_t mask, __m256 (&w)[2]) {
    const __m256i words = spread_words(p, mask);
    w[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(words));
    w[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(words, 1));
  }
};

struct Int8Values : Natural {
  using Value = int8_t;
  PRUNE_INLINE static __m256 widen(__m128i eight) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)); }
  PRUNE_INLINE static __m256 load(const Value* p, int h) { return widen(load_eight_bytes(p + 8 * h)); }
  PRUNE_INLINE static __m256 spread_eight(const Value* p, uint32_t entry) {
    return widen(_mm_shuffle_epi8(load_eight_bytes(p), load_eight_bytes(kSpreadBytes.bytes[0] + entry)));
  }
  PRUNE_INLINE static void spread(const Value* p, uint32_t mask, __m256 (&w)[2]) {
    const MaskWord<8> at(mask);
    w[0] = spread_eight(p, at.first);
    w[1] = spread_eight(p + at.low, at.second);
  }
};

}  // namespace
}  // namespace prune::kernels
