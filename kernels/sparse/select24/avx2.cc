#include <immintrin.h>

#include "kernels/sparse/select24/kernel.h"
#include "kernels/sparse/select24/rows.h"

namespace prune::kernels {
namespace {

__m256i load(const unsigned char* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

class Floats {
 public:
  using Weight = uint32_t;

  Wins wins(const unsigned char* block) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    const __m256i lower_than_next = _mm256_setr_epi32(1, 1, 1, 0, 1, 1, 1, 0);
    const __m256i lower_than_across = _mm256_setr_epi32(1, 1, 0, 0, 1, 1, 0, 0);
    Wins wins;
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      const __m256i k = _mm256_and_si256(load(block + 32 * r), magnitude);
      const __m256i next = _mm256_shuffle_epi32(k, 0x39), across = _mm256_shuffle_epi32(k, 0x4e);
      largest_ = _mm256_max_epi32(largest_, k);
      wins.next |= bits(_mm256_cmpgt_epi32(_mm256_add_epi32(k, lower_than_next), next)) << 8 * r;
      wins.across |= bits(_mm256_cmpgt_epi32(_mm256_add_epi32(k, lower_than_across), across)) << 8 * r;
    }
    return wins;
  }
  uint32_t largest() const { return largest_lane<Weight>(largest_); }

 private:
  static uint64_t bits(__m256i lanes) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(lanes)));
  }
  __m256i largest_ = _mm256_setzero_si256();
};

class Halves {
 public:
  using Weight = uint16_t;

  Wins wins(const unsigned char* block) {
    const Compared a = compare(block), b = compare(block + 32), c = compare(block + 64),
                   d = compare(block + 96);
    return {bits(a.next, b.next) | bits(c.next, d.next) << 32,
            bits(a.across, b.across) | bits(c.across, d.across) << 32};
  }
  uint32_t largest() const { return largest_lane<Weight>(largest_); }

 private:
  struct Compared {
    __m256i next, across;  // lanes of all ones are wins
  };

  Compared compare(const unsigned char* weights) {
    const __m256i magnitude = _mm256_set1_epi16(0x7fff);
    const __m256i lower_than_next = _mm256_set1_epi64x(0x0000'0001'0001'0001);
    const __m256i lower_than_across = _mm256_set1_epi64x(0x0000'0000'0001'0001);
    const __m256i rotation = _mm256_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9,  //
                                              2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
    const __m256i k = _mm256_and_si256(load(weights), magnitude);
    largest_ = _mm256_max_epi16(largest_, k);
    return {_mm256_cmpgt_epi16(_mm256_add_epi16(k, lower_than_next), _mm256_shuffle_epi8(k, rotation)),
            _mm256_cmpgt_epi16(_mm256_add_epi16(k, lower_than_across), _mm256_shuffle_epi32(k, 0xb1))};
  }
  static uint64_t bits(__m256i low, __m256i high) {
    const __m256i bytes =
        _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);  // packed by 128 bits
    return static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
  }
  __m256i largest_ = _mm256_setzero_si256();
};

}  // namespace

extern const Select24 select24_avx2{"select24_avx2", select_row<Floats>, select_row<Halves>};

}  // namespace prune::kernels
