// What a warp does with one tile of a 2:4 stream (frag24.h) in shared memory: values to tensor-core operands,
// then mma.sp. Device code, sm_80 and later.
#pragma once

#include "kernels/sparse/cuda/frag24.h"
#include "kernels/sparse/cuda/ptx.h"

namespace prune::kernels::cuda {
namespace {

template <class T>
inline constexpr bool kIsHalf = __is_same(T, __half);

// Packed a - b.
template <class T>
__device__ inline uint32_t subtract_packed(uint32_t a, uint32_t b) {
  uint32_t d;
  if constexpr (kIsHalf<T>) {
    asm("sub.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  } else {
    asm("fma.rn.bf16x2 %0, %2, %3, %1;"
        : "=r"(d)
        : "r"(a), "r"(b), "r"(0xbf80bf80));  // sub.bf16x2 needs sm_90
  }
  return d;
}

// (word & mask) | ones in one instruction. Written with operators it becomes two, each with its constant;
// here the compiler keeps one of the constants in a register.
__device__ inline uint32_t masked_or(uint32_t word, uint32_t mask, uint32_t ones) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(word), "r"(mask), "r"(ones));
  return d;
}

// Two's complement bytes 0 and 2 of `word` as packed 16-bit floats, exactly.
// Half: 0x6400 | u is 1024 + u; u is the byte with its sign flipped, v + 128. Bfloat16 has one bit too few
// for that: the low seven bits make 128 + low, and 128 or, for negative bytes, 256 is taken away, which is
// 0x4300 with the sign bit in place.
template <class T>
__device__ inline uint32_t float_from_int8(uint32_t word) {
  if constexpr (kIsHalf<T>) {
    return subtract_packed<T>((word & 0x00ff00ff) ^ 0x64806480, 0x64806480);
  } else {
    return subtract_packed<T>(masked_or(word, 0x007f007f, 0x43004300),
                              masked_or(word, 0x00800080, 0x43004300));
  }
}

// Nibbles 0 and 4 of `word`, 0..15 meaning -8..7, as packed 16-bit floats, exactly.
template <class T>
__device__ inline uint32_t float_from_int4(uint32_t word) {
  constexpr uint32_t kOne =
      kIsHalf<T> ? 0x64006400 : 0x43004300;  // 1024 or 128: one more unit in the last place is one
  return subtract_packed<T>(masked_or(word, 0x000f000f, kOne), kOne | 0x00080008);
}

// A tile as this lane sees it: raw words, still to be turned into operands.
template <Weight24 kWeight>
struct LaneTile {
  static constexpr int kWords = value_bytes24(kWeight) / 512;
  uint4 values[kWords];
  uint4 metadata;
  uint2 scales;  // int4 only: bfloat16 of rows g, g + 8, g + 16, g + 24

  __device__ void load(uint32_t tile, int lane) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) values[i] = ptx::load_shared_16(tile + i * 512 + lane * 16);
    metadata = ptx::load_shared_16(tile + value_bytes24(kWeight) + lane * 16);
    if constexpr (kWeight == Weight24::kInt4) {
      asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];"
                   : "=r"(scales.x), "=r"(scales.y)
                   : "r"(tile + value_bytes24(kWeight) + kMetadataBytes24 + (lane >> 2) * 8)
                   : "memory");
    }
  }

  // The A operand of fragment f.
  template <class T>
  __device__ void operand(int f, uint32_t (&a)[4]) const {
    if constexpr (kWeight == Weight24::k16) {
      a[0] = values[f].x, a[1] = values[f].y, a[2] = values[f].z, a[3] = values[f].w;
    } else if constexpr (kWeight == Weight24::kInt8) {
      const uint4 v = values[f / 2];
      const uint32_t low = f & 1 ? v.z : v.x, high = f & 1 ? v.w : v.y;
      a[0] = float_from_int8<T>(low), a[1] = float_from_int8<T>(low >> 8);
      a[2] = float_from_int8<T>(high), a[3] = float_from_int8<T>(high >> 8);
    } else {
      const uint4 v = values[f / 4];
      const uint32_t word = (f & 3) == 0 ? v.x : (f & 3) == 1 ? v.y : (f & 3) == 2 ? v.z : v.w;
#pragma unroll
      for (int p = 0; p < 4; ++p) a[p] = float_from_int4<T>(word >> (4 * p));
    }
  }

  __device__ uint32_t metadata_word(int s) const {
    return s == 0 ? metadata.x : s == 1 ? metadata.y : s == 2 ? metadata.z : metadata.w;
  }
  __device__ float scale(int m, int half) const {
    const uint32_t pair = m == 0 ? scales.x : scales.y;
    return __uint_as_float(half == 0 ? pair << 16 : pair & 0xffff0000);
  }
};

// Sums of a warp: 32 rows by 8 * kBlocks tokens. [m][b][c]: row 16m + g + 8 * (c / 2), token 8b + 2t + c % 2.
template <int kBlocks>
using Sums = float[2][kBlocks][4];

// Steps of 32 columns whose operands of x are fetched together: up to 32 registers of them.
template <int kBlocks>
inline constexpr int kStepsAhead = kBlocks <= 2   ? 4
                                   : kBlocks <= 4 ? 2
                                                  : 1;

template <int kBlocks>
using TokenOperands = uint32_t[kStepsAhead<kBlocks>][kBlocks][4];

template <int kBlocks>
__device__ inline void load_tokens(TokenOperands<kBlocks>& tokens, uint32_t x, const int (&x_block)[kBlocks],
                                   int first) {
#pragma unroll
  for (int s = 0; s < kStepsAhead<kBlocks>; ++s) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) ptx::load_matrix_x4(tokens[s][b], x + x_block[b] + (first + s) * 64);
  }
}

// sums += tile * x for the tile's first `steps` steps of 32 columns. x: shared-memory address of this lane's
// ldmatrix row of the first token block; x_block[b]: bytes from there to token block b. While one warp
// fetches operands, the others of its scheduler multiply.
template <Weight24 kWeight, class T, int kBlocks>
__device__ inline void multiply_tile(Sums<kBlocks>& sums, const LaneTile<kWeight>& tile, uint32_t x,
                                     const int (&x_block)[kBlocks], int steps) {
  constexpr int kAhead = kStepsAhead<kBlocks>;
  Sums<kBlocks> group_sums = {};
  Sums<kBlocks>& into = kWeight == Weight24::kInt4 ? group_sums : sums;
#pragma unroll
  for (int first = 0; first < 4; first += kAhead) {
    TokenOperands<kBlocks> tokens;
    load_tokens<kBlocks>(tokens, x, x_block, first);
#pragma unroll
    for (int s = 0; s < kAhead; ++s) {
      if (first + s >= steps) break;
      uint32_t upper[4], lower[4];
      tile.template operand<T>(first + s, upper);
      tile.template operand<T>(4 + first + s, lower);
      const uint32_t metadata = tile.metadata_word(first + s);
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        ptx::mma_sparse_16x8x32<T, 0>(into[0][b], upper, tokens[s][b], metadata);
        ptx::mma_sparse_16x8x32<T, 1>(into[1][b], lower, tokens[s][b], metadata);
      }
    }
  }
  if constexpr (kWeight == Weight24::kInt4) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int c = 0; c < 4; ++c)
          sums[m][b][c] = fmaf(tile.scale(m, c >> 1), group_sums[m][b][c], sums[m][b][c]);
      }
    }
  }
}

}  // namespace
}  // namespace prune::kernels::cuda
