#include "kernels/sparse/simd/neon.h"
#include "kernels/sparse/spmm_bitmask/float_kernel.h"

namespace prune::kernels {
namespace {

constexpr int kRows = kBitmaskGroupRows;
constexpr int kChunk = 32;

// For each four bits of a mask: of which bytes of the next four values every lane is made; a byte past their
// sixteen is zero.
struct ExpandTable {
  uint8_t bytes[16][16];
};
constexpr ExpandTable make_expand_table() {
  ExpandTable table{};
  for (int mask = 0; mask < 16; ++mask) {
    for (int lane = 0, next = 0; lane < 4; ++lane) {
      const bool stays = (mask >> lane & 1) != 0;
      for (int b = 0; b < 4; ++b)
        table.bytes[mask][4 * lane + b] = static_cast<uint8_t>(stays ? 4 * next + b : 0xff);
      next += stays;
    }
  }
  return table;
}
alignas(64) constexpr ExpandTable kExpand = make_expand_table();

PRUNE_INLINE float32x4_t expand(float32x4_t values, uint32_t mask) {
  return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(values), vld1q_u8(kExpand.bytes[mask])));
}

// How many bits of four bits are set, in a nibble of 64 bits each.
PRUNE_INLINE uint32_t count_of(uint32_t nibble) { return 0x4332322132212110 >> 4 * nibble & 15; }

template <class T>
struct Batch {
  static constexpr int kChunk = prune::kernels::kChunk, kMost = 4;

  template <int B>
  static void multiply(const BitmaskStream& stream, const float* x, int64_t n, float* sums) {
    float32x4_t acc[B][kRows];
    const T* values = static_cast<const T*>(stream.values);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) acc[i][r] = vdupq_n_f32(0);
    }
    for (int64_t c = 0; c < stream.chunks; ++c, x += n * kChunk) {
      const uint32_t* masks = stream.masks + c * kRows;
      prefetch_ahead(masks);
      prefetch_ahead(values);
      prefetch_ahead(values + 64 / sizeof(T));
      const T* next[kRows];  // every row by itself, so that none waits for the other's counts
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        next[r] = values;
        values += __builtin_popcount(masks[r]);
      }
#pragma GCC unroll 1
      for (int q = 0; q < 8; ++q) {  // more, and gcc loads all first and spills
        float32x4_t in[B];
#pragma GCC unroll 4
        for (int i = 0; i < B; ++i) in[i] = vld1q_f32(x + i * kChunk + 4 * q);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const uint32_t nibble = masks[r] >> 4 * q & 15;
          const float32x4_t w = expand(NeonF32::widen(next[r]), nibble);
          next[r] += count_of(nibble);
#pragma GCC unroll 4
          for (int i = 0; i < B; ++i) acc[i][r] = vfmaq_f32(acc[i][r], w, in[i]);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[i * kRows + r] = vaddvq_f32(acc[i][r]);
    }
  }
};

}  // namespace

constexpr BitmaskKernel bitmask_f32_neon = float_kernel<Batch<float>>("bitmask_f32_neon", WeightType::kF32);
constexpr BitmaskKernel bitmask_bf16_neon =
    float_kernel<Batch<uint16_t>>("bitmask_bf16_neon", WeightType::kBf16);
constexpr BitmaskKernel bitmask_i8_neon = float_kernel<Batch<int8_t>>("bitmask_i8_neon", WeightType::kI8);

}  // namespace prune::kernels
