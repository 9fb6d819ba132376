// What a warp of the many-token 2:4 product does beside its wgmma.sp: weights from a stream's tiles
// (frag24.h) into that instruction's registers, and its sums to y. Device code, sm_90a.
#pragma once

#include "kernels/sparse/cuda/wgmma.h"
#include "kernels/sparse/spmm_nm/decode24_compute.h"

namespace prune::kernels::cuda {
namespace {

// What one warp takes from a tile: 16 rows (`half` 0 or 1), four steps of 32 columns, or of 64 where x has
// eight bits.
template <Weight24 kWeight, class T>
struct WarpWeights {
  uint32_t a[4][4];
  uint32_t metadata[4];
  uint32_t scales;  // int4 only: bfloat16 of rows g and g + 8

  __device__ void load(uint32_t tile, int half, int lane) {
    if constexpr (value_bytes24(kWeight) == 4096) {
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        const uint4 v = ptx::load_shared_16(tile + (4 * half + s) * 512 + lane * 16);
        a[s][0] = v.x, a[s][1] = v.y, a[s][2] = v.z, a[s][3] = v.w;
      }
    } else if constexpr (kWeight == Weight24::kInt8) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint4 v = ptx::load_shared_16(tile + (2 * half + i) * 512 + lane * 16);
        convert8(a[2 * i], v.x, v.y);
        convert8(a[2 * i + 1], v.z, v.w);
      }
    } else {
      const uint4 v = ptx::load_shared_16(tile + half * 512 + lane * 16);
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int s = 0; s < 4; ++s) {
#pragma unroll
        for (int p = 0; p < 4; ++p) a[s][p] = float_from_int4<T>(words[s] >> (4 * p));
      }
      asm volatile("ld.shared.u32 %0, [%1];"
                   : "=r"(scales)
                   : "r"(tile + value_bytes24(kWeight) + kMetadataBytes24 + (lane >> 2) * 8 + half * 4)
                   : "memory");
    }
    // Of 16-bit products lanes 0 and 1 of a quad supply the metadata; the stream keeps that of the lower rows
    // at lanes 2 and 3.
    const int piece = both_8_bits(kWeight) ? 32 * half + lane : (lane & ~3) + 2 * half + (lane & 1);
    const uint4 e = ptx::load_shared_16(tile + value_bytes24(kWeight) + piece * 16);
    metadata[0] = e.x, metadata[1] = e.y, metadata[2] = e.z, metadata[3] = e.w;
  }
  __device__ float scale(int lower) const {
    return __uint_as_float(lower ? scales & 0xffff0000 : scales << 16);
  }

 private:
  __device__ static void convert8(uint32_t (&to)[4], uint32_t low, uint32_t high) {
    to[0] = float_from_int8<T>(low), to[1] = float_from_int8<T>(low >> 8);
    to[2] = float_from_int8<T>(high), to[3] = float_from_int8<T>(high >> 8);
  }
};

}  // namespace
}  // namespace prune::kernels::cuda
