#include <immintrin.h>

#include "kernels/sparse/pack24/kernel.h"
#include "kernels/sparse/pack24/rows.h"

namespace prune::kernels {
namespace {

void store_half(unsigned char* to, __m512i from) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(from));
}

struct Floats {
  using Weight = uint32_t;

  static uint64_t nonzero(const unsigned char* block) { return differ_in(block, 0x7fffffff); }
  static uint64_t stored(const unsigned char* block) { return differ_in(block, -1); }
  static void keep(const unsigned char* block, uint64_t chosen, unsigned char* values) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const auto mask = static_cast<__mmask16>(chosen >> 16 * r);
      store_half(values + 32 * r, _mm512_maskz_compress_epi32(mask, _mm512_loadu_si512(block + 64 * r)));
    }
  }

 private:
  static uint64_t differ_in(const unsigned char* block, int bits) {
    uint64_t word = 0;
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r)
      word |= uint64_t{_mm512_test_epi32_mask(_mm512_loadu_si512(block + 64 * r), _mm512_set1_epi32(bits))}
              << 16 * r;
    return word;
  }
};

struct Halves {
  using Weight = uint16_t;

  static uint64_t nonzero(const unsigned char* block) { return differ_in(block, 0x7fff); }
  static uint64_t stored(const unsigned char* block) { return differ_in(block, -1); }
  static void keep(const unsigned char* block, uint64_t chosen, unsigned char* values) {
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r) {
      const auto mask = static_cast<__mmask32>(chosen >> 32 * r);
      store_half(values + 32 * r, _mm512_maskz_compress_epi16(mask, _mm512_loadu_si512(block + 64 * r)));
    }
  }

 private:
  static uint64_t differ_in(const unsigned char* block, short bits) {
    uint64_t word = 0;
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r)
      word |= uint64_t{_mm512_test_epi16_mask(_mm512_loadu_si512(block + 64 * r), _mm512_set1_epi16(bits))}
              << 32 * r;
    return word;
  }
};

}  // namespace

extern const Pack24 pack24_avx512bf16{"pack24_avx512bf16", pack_row<Floats>, pack_row<Halves>};

}  // namespace prune::kernels
