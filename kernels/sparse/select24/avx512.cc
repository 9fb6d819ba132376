#include <immintrin.h>

#include "kernels/sparse/select24/kernel.h"
#include "kernels/sparse/select24/rows.h"

namespace prune::kernels {
namespace {

class Floats {
 public:
  using Weight = uint32_t;

  Wins wins(const unsigned char* block) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const __m512i lower_than_next = _mm512_set4_epi32(0, 1, 1, 1);
    const __m512i lower_than_across = _mm512_set4_epi32(0, 0, 1, 1);
    Wins wins;
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const __m512i k = _mm512_and_si512(_mm512_loadu_si512(block + 64 * r), magnitude);
      const __m512i next = _mm512_shuffle_epi32(k, _MM_PERM_ADCB),
                    across = _mm512_shuffle_epi32(k, _MM_PERM_BADC);
      largest_ = _mm512_max_epi32(largest_, k);
      wins.next |= uint64_t{_mm512_cmpgt_epi32_mask(_mm512_add_epi32(k, lower_than_next), next)} << 16 * r;
      wins.across |= uint64_t{_mm512_cmpgt_epi32_mask(_mm512_add_epi32(k, lower_than_across), across)}
                     << 16 * r;
    }
    return wins;
  }
  uint32_t largest() const { return largest_lane<Weight>(largest_); }

 private:
  __m512i largest_ = _mm512_setzero_si512();
};

class Halves {
 public:
  using Weight = uint16_t;

  Wins wins(const unsigned char* block) {
    const __m512i magnitude = _mm512_set1_epi16(0x7fff);
    const __m512i lower_than_next = _mm512_set1_epi64(0x0000'0001'0001'0001);
    const __m512i lower_than_across = _mm512_set1_epi64(0x0000'0000'0001'0001);
    Wins wins;
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r) {
      const __m512i k = _mm512_and_si512(_mm512_loadu_si512(block + 64 * r), magnitude);
      const __m512i next = _mm512_ror_epi64(k, 16), across = _mm512_ror_epi64(k, 32);
      largest_ = _mm512_max_epi16(largest_, k);
      wins.next |= uint64_t{_mm512_cmpgt_epi16_mask(_mm512_add_epi16(k, lower_than_next), next)} << 32 * r;
      wins.across |= uint64_t{_mm512_cmpgt_epi16_mask(_mm512_add_epi16(k, lower_than_across), across)}
                     << 32 * r;
    }
    return wins;
  }
  uint32_t largest() const { return largest_lane<Weight>(largest_); }

 private:
  __m512i largest_ = _mm512_setzero_si512();
};

}  // namespace

extern const Select24 select24_avx512{"select24_avx512", select_row<Floats>, select_row<Halves>};

}  // namespace prune::kernels
