#include <immintrin.h>

#include "kernels/sparse/pack24/kernel.h"
#include "kernels/sparse/pack24/rows.h"

namespace prune::kernels {
namespace {

uint64_t lanes_with_any(__m512i w, uint32_t bits) {
  return _mm512_test_epi32_mask(w, _mm512_set1_epi32(static_cast<int>(bits)));
}
uint64_t lanes_with_any(__m512i w, uint16_t bits) {
  return _mm512_test_epi16_mask(w, _mm512_set1_epi16(static_cast<short>(bits)));
}
__m512i to_the_front(__m512i w, uint64_t chosen, uint32_t) {
  return _mm512_maskz_compress_epi32(static_cast<__mmask16>(chosen), w);
}
__m512i to_the_front(__m512i w, uint64_t chosen, uint16_t) {
  return _mm512_maskz_compress_epi16(static_cast<__mmask32>(chosen), w);
}

// A register holds whole groups, of whose weights half are chosen.
template <class Bits>
struct Registers {
  using Weight = Bits;
  static constexpr int kLanes = 64 / sizeof(Bits);

  static uint64_t any_of(const unsigned char* block, Bits bits) {
    uint64_t word = 0;
#pragma GCC unroll 4
    for (int at = 0; at < kPackBlock; at += kLanes)
      word |= lanes_with_any(_mm512_loadu_si512(block + at * sizeof(Bits)), bits) << at;
    return word;
  }
  static void keep(const unsigned char* block, uint64_t chosen, unsigned char* values) {
#pragma GCC unroll 4
    for (int at = 0; at < kPackBlock; at += kLanes, values += 32) {
      const __m512i front = to_the_front(_mm512_loadu_si512(block + at * sizeof(Bits)), chosen >> at, Bits{});
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(values), _mm512_castsi512_si256(front));
    }
  }
};

}  // namespace

extern const Pack24 pack24_avx512bf16{"pack24_avx512bf16", pack_row<Registers<uint32_t>>,
                                      pack_row<Registers<uint16_t>>};

}  // namespace prune::kernels
