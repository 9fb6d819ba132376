#include "kernels/sparse/simd/neon.h"
#include "kernels/sparse/spmm_nm/group.h"

namespace prune::kernels {
namespace {

constexpr int kChunk = 32;
constexpr int kRows = kNm24QuadRows;

// For four indices of two bits: of which bytes of two groups of inputs, 32 in all, the four inputs are made.
struct GatherTable {
  uint8_t bytes[256][16];
};
constexpr GatherTable make_gather_table() {
  GatherTable table{};
  for (int indices = 0; indices < 256; ++indices) {
    for (int lane = 0; lane < 4; ++lane) {
      const int input = lane / 2 * 4 + (indices >> 2 * lane & 3);
      for (int b = 0; b < 4; ++b) table.bytes[indices][4 * lane + b] = static_cast<uint8_t>(4 * input + b);
    }
  }
  return table;
}
alignas(64) constexpr GatherTable kGather = make_gather_table();

PRUNE_INLINE uint8x16x2_t load_groups(const float* x) {
  uint8x16x2_t groups;
  groups.val[0] = vreinterpretq_u8_f32(vld1q_f32(x));
  groups.val[1] = vreinterpretq_u8_f32(vld1q_f32(x + 4));
  return groups;
}

template <class T>
struct Step {
  using Value = T;
  using Input = float;
  static constexpr int kChunk = prune::kernels::kChunk, kMostBatch = 2, kLanes = 4;

  // The looked-up bytes and widened values serve B rows of X.
  template <int B>
  static void multiply(const T* values, const uint32_t* indices, int64_t chunks, const float* x, int64_t n,
                       float* lanes, int64_t stride) {
    float32x4_t acc[B][kRows];
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) acc[i][r] = vld1q_f32(lanes + i * stride + r * kLanes);
    }
    for (int64_t c = 0; c < chunks; ++c, x += n * kChunk) {
      prefetch_ahead(indices);
      prefetch_ahead(values);
      if constexpr (sizeof(T) == 4) {
        for (int line = 1; line < 4; ++line) prefetch_ahead(values + 16 * line);
      }
#pragma GCC unroll 1
      for (int q = 0; q < 4; ++q) {  // more, and gcc loads all first and spills
        uint8x16x2_t in[B];          // for all rows of W
#pragma GCC unroll 4
        for (int i = 0; i < B; ++i) in[i] = load_groups(x + i * kChunk + 8 * q);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const uint8x16_t bytes = vld1q_u8(kGather.bytes[indices[r] >> 8 * q & 0xff]);
          const float32x4_t w = NeonF32::widen(values + 16 * r + 4 * q);
#pragma GCC unroll 4
          for (int i = 0; i < B; ++i)
            acc[i][r] = vfmaq_f32(acc[i][r], vreinterpretq_f32_u8(vqtbl2q_u8(in[i], bytes)), w);
        }
      }
      indices += kRows;
      values += kRows * kChunk / 2;
    }
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) vst1q_f32(lanes + i * stride + r * kLanes, acc[i][r]);
    }
  }
  static float reduce(const float* lanes) { return vaddvq_f32(vld1q_f32(lanes)); }
};

}  // namespace

constexpr Nm24Kernel nm24_f32_neon = float_kernel<Step<float>>("nm24_f32_neon", WeightType::kF32);
constexpr Nm24Kernel nm24_bf16_neon = float_kernel<Step<uint16_t>>("nm24_bf16_neon", WeightType::kBf16);
constexpr Nm24Kernel nm24_f16_neon = float_kernel<Step<Half>>("nm24_f16_neon", WeightType::kF16);
constexpr Nm24Kernel nm24_i8_neon = float_kernel<Step<int8_t>>("nm24_i8_neon", WeightType::kI8);

}  // namespace prune::kernels
