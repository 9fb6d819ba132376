#include <immintrin.h>

#include "kernels/sparse/pack24/kernel.h"
#include "kernels/sparse/pack24/rows.h"

namespace prune::kernels {
namespace {

// For a mask of a group's columns, which of its four floats to move to the front.
struct FloatControls {
  constexpr FloatControls() {
    for (int mask = 0; mask < 16; ++mask) {
      for (int col = 0, at = 0; col < 4 && at < 2; ++col) {
        if (mask >> col & 1) lanes[mask][at++] = col;
      }
    }
  }
  int32_t lanes[16][2] = {};
};
// For a mask of two groups' columns, which bytes of their eight halves.
struct HalfControls {
  constexpr HalfControls() {
    for (int mask = 0; mask < 256; ++mask) {
      for (int col = 0, at = 0; col < 8 && at < 8; ++col) {
        if ((mask >> col & 1) == 0) continue;
        bytes[mask][at++] = static_cast<uint8_t>(2 * col);
        bytes[mask][at++] = static_cast<uint8_t>(2 * col + 1);
      }
    }
  }
  uint8_t bytes[256][8] = {};
};
constexpr FloatControls kFloatControls;
constexpr HalfControls kHalfControls;

__m256i load(const unsigned char* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
__m128i load16(const unsigned char* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
__m128i load8(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
void store8(unsigned char* p, __m128i from) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), from); }

struct Floats {
  using Weight = uint32_t;

  static void keep(const unsigned char* block, uint64_t chosen, unsigned char* values) {
#pragma GCC unroll 16
    for (int g = 0; g < 16; ++g) {
      const __m128i control = load8(kFloatControls.lanes[chosen >> 4 * g & 15]);
      const __m128 group = _mm_castsi128_ps(load16(block + 16 * g));
      store8(values + 8 * g, _mm_castps_si128(_mm_permutevar_ps(group, control)));
    }
  }

  static uint64_t any_of(const unsigned char* block, Weight bits) {
    const __m256i zero = _mm256_setzero_si256(), those = _mm256_set1_epi32(static_cast<int>(bits));
    uint64_t without = 0;
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      const __m256i same = _mm256_cmpeq_epi32(_mm256_and_si256(load(block + 32 * r), those), zero);
      without |= uint64_t{static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(same)))} << 8 * r;
    }
    return ~without;
  }
};

struct Halves {
  using Weight = uint16_t;

  static void keep(const unsigned char* block, uint64_t chosen, unsigned char* values) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) {
      const __m128i control = load8(kHalfControls.bytes[chosen >> 8 * g & 255]);
      store8(values + 8 * g, _mm_shuffle_epi8(load16(block + 16 * g), control));
    }
  }

  static uint64_t any_of(const unsigned char* block, Weight bits) {
    const __m256i zero = _mm256_setzero_si256(), those = _mm256_set1_epi16(static_cast<short>(bits));
    const auto same = [&](int r) {
      return _mm256_cmpeq_epi16(_mm256_and_si256(load(block + 32 * r), those), zero);
    };
    const auto half = [&](int r) {  // packed by 128 bits: put in order again
      const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(same(r), same(r + 1)), 0xd8);
      return uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(bytes))};
    };
    return ~(half(0) | half(2) << 32);
  }
};

}  // namespace

extern const Pack24 pack24_avx2{"pack24_avx2", pack_row<Floats>, pack_row<Halves>};

}  // namespace prune::kernels
