// What a warp of the many-token 2:4 product does beside its wgmma.sp: weights from a stream's tiles
// (frag24.h) into that instruction's registers, and its sums to y. Device code, sm_90a.
#pragma once

#include "kernels/sparse/cuda/wgmma.h"
#include "kernels/sparse/spmm_nm/decode24_compute.h"

namespace prune::kernels::cuda {
namespace {

// What one warp takes from a tile at a time: 16 rows (`half` 0 or 1), and of its four steps of 32 columns, or
// of 64 where x has eight bits, two from `step` on or all.
template <Weight24 kWeight, class T, int kSteps>
struct WarpWeights {
  static_assert(kSteps == 2 || kSteps == 4);
  uint32_t a[kSteps][4];
  uint32_t metadata[kSteps];

  __device__ void load(uint32_t tile, int half, int step, int lane) {
    if constexpr (value_bytes24(kWeight) == 4096) {
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        const uint4 v = ptx::load_shared_16(tile + (4 * half + step + s) * 512 + lane * 16);
        a[s][0] = v.x, a[s][1] = v.y, a[s][2] = v.z, a[s][3] = v.w;
      }
    } else if constexpr (kWeight == Weight24::kInt8) {
#pragma unroll
      for (int s = 0; s < kSteps; s += 2) {
        const uint4 v = ptx::load_shared_16(tile + (2 * half + (step + s) / 2) * 512 + lane * 16);
        convert8(a[s], v.x, v.y);
        convert8(a[s + 1], v.z, v.w);
      }
    } else {
      uint32_t words[kSteps];
      load_words(words, tile + half * 512 + lane * 16 + step * 4);
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int p = 0; p < 4; ++p) a[s][p] = float_from_int4<T>(words[s] >> (4 * p));
      }
    }
    // Of 16-bit products lanes 0 and 1 of a quad supply the metadata; the stream keeps that of the lower rows
    // at lanes 2 and 3.
    const int piece = both_8_bits(kWeight) ? 32 * half + lane : (lane & ~3) + 2 * half + (lane & 1);
    load_words(metadata, tile + value_bytes24(kWeight) + piece * 16 + step * 4);
  }

 private:
  __device__ static void load_words(uint32_t (&to)[2], uint32_t address) {
    const uint2 v = ptx::load_shared_8(address);
    to[0] = v.x, to[1] = v.y;
  }
  __device__ static void load_words(uint32_t (&to)[4], uint32_t address) {
    const uint4 v = ptx::load_shared_16(address);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  }
  __device__ static void convert8(uint32_t (&to)[4], uint32_t low, uint32_t high) {
    to[0] = float_from_int8<T>(low), to[1] = float_from_int8<T>(low >> 8);
    to[2] = float_from_int8<T>(high), to[3] = float_from_int8<T>(high >> 8);
  }
};

// int4's scales of rows g and g + 8 of a tile's half, two bfloat16.
__device__ inline uint32_t load_scales_int4(uint32_t tile, int half, int lane) {
  uint32_t scales;
  asm volatile("ld.shared.u32 %0, [%1];"
               : "=r"(scales)
               : "r"(tile + value_bytes24(Weight24::kInt4) + kMetadataBytes24 + (lane >> 2) * 8 + half * 4)
               : "memory");
  return scales;
}

}  // namespace
}  // namespace prune::kernels::cuda
