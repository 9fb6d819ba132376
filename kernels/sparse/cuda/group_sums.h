// How the sums of a warp group, 64 rows by a tile of tokens, leave for y. Device code, sm_90a.
#pragma once

#include "kernels/sparse/cuda/wgmma.h"

namespace prune::kernels::cuda {

// Tokens of a warp group's sums that leave together: [token][64 rows], 128 bytes a token.
template <int kTokens>
inline constexpr int kStoreTokens = kTokens < 32 ? kTokens : 32;
template <int kTokens>
inline constexpr int kStoreBytes = kStoreTokens<kTokens> * 128;  // of one of a warp group's two buffers

namespace {

template <int kTokens>
using GroupSums =
    float[kTokens / 2];  // of a warp group: [8 tokens][c], row g + 8 * (c / 2), token 2t + c % 2

template <class T>
__device__ inline uint32_t pack_pair(float low, float high) {
  if constexpr (__is_same(T, __half)) {
    const __half2 v = __floats2half2_rn(low, high);
    return reinterpret_cast<const uint32_t&>(v);
  } else {
    const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(v);
  }
}

// A warp group's 64 rows by kTokens tokens to y, kStoreTokens at a time through two buffers; stores run on
// behind.
template <class T, int kTokens>
__device__ void store_sums(const GroupSums<kTokens>& sums, const CUtensorMap* y_map, uint32_t buffers,
                           int group, int row, int token, int warp, int lane) {
#pragma unroll
  for (int piece = 0; piece < kTokens / kStoreTokens<kTokens>; ++piece) {
    const uint32_t buffer = buffers + (piece & 1) * kStoreBytes<kTokens>;
    if (warp == 0 && lane == 0) ptx::store_wait_read<1>();
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
#pragma unroll
    for (int j = 0; j < kStoreTokens<kTokens> / 8; j += 2) {
      const float* d = sums + (piece * kStoreTokens<kTokens> / 8 + j) * 4;
      const int at = 8 * (j + (lane >> 4)) + (lane & 7), chunk = 2 * warp + (lane >> 3 & 1);
      ptx::store_matrix_x4_transposed(buffer + at * 128 + ((chunk ^ (at & 7)) << 4), pack_pair<T>(d[0], d[1]),
                                      pack_pair<T>(d[2], d[3]), pack_pair<T>(d[4], d[5]),
                                      pack_pair<T>(d[6], d[7]));
    }
    ptx::fence_async_shared();
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
    if (warp == 0 && lane == 0) {
      ptx::store_box(y_map, row, token + piece * kStoreTokens<kTokens>, buffer);
      ptx::store_commit();
    }
  }
}

}  // namespace
}  // namespace prune::kernels::cuda
