// How the sums of the many-token 2:4 product leave a warp group: to y, or through the other blocks of the
// cluster. Device code, sm_90a.
#pragma once

#include "kernels/sparse/cuda/group_sums.h"
#include "kernels/sparse/spmm_nm/gemm24_compute.h"
#include "kernels/sparse/spmm_nm/gemm24_feed.h"

namespace prune::kernels::cuda {
namespace {

// int8: sums times the scales of their rows.
template <int kTokens>
__device__ inline void scale_rows(const Arguments& args, GroupSums<kTokens>& sums, int row) {
  const float upper = row < args.rows ? args.row_scales[row] : 0.0f,
              lower = row + 8 < args.rows ? args.row_scales[row + 8] : 0.0f;
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) sums[i] *= i & 2 ? lower : upper;
}

// Where blocks split the columns: every block gets its share of the sums of all, and
// writes it to y. Sums travel as asynchronous stores that count bytes at the receiver; they land where x was,
// so nobody sends before all have multiplied, and x comes back after the sums are taken.
template <Weight24 kWeight, class T, int kTokens>
__device__ void exchange_sums(const Arguments& args, const Place& place, const uint8_t* storage,
                              const GroupSums<kTokens>& sums, int row, int token, int warp, int lane,
                              uint32_t parity) {
  using L = GemmLayout<kWeight, kTokens>;
  const uint32_t shared = ptx::shared_address(storage);
  const int split = args.split, most_pieces = (kTokens + split - 1) / split;
  __syncwarp();
  if (lane < split)
    ptx::barrier_arrive_remote(shared + L::kReady, (lane << args.log_share) + place.share_rank);
  ptx::barrier_wait(shared + L::kReady, parity);
  const uint32_t mine = shared + L::kExchange + place.split_rank * most_pieces * 512 + lane * 16;
  int local = warp / split, to = warp - local * split;
  const int step = kGemmWarps / split, rest = kGemmWarps - step * split;
#pragma unroll
  for (int j = 0; j < kTokens / 8; ++j) {  // piece 8 j + warp is number `local` of block `to`
    const float part[4] = {sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]};
    ptx::store_remote(mine + local * 512, (to << args.log_share) + place.share_rank, part,
                      shared + L::kExchanged);
    local += step, to += rest;
    if (to >= split) to -= split, ++local;
  }
  const int pieces = (kTokens - place.split_rank + split - 1) / split;
  if (warp == 0 && lane == 0) ptx::barrier_expect(shared + L::kExchanged, uint32_t(split * pieces * 512));
  ptx::barrier_wait(shared + L::kExchanged, parity);
  const float4* parts = reinterpret_cast<const float4*>(storage + L::kExchange) + lane;
  T* y = static_cast<T*>(args.y);
  for (local = warp; local < pieces; local += kGemmWarps) {
    float sum[4] = {};
    for (int from = 0; from < split; ++from) {
      const float4 part = parts[(from * most_pieces + local) * 32];
      sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
    }
    const int piece = local * split + place.split_rank;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int r = row + piece % kGemmWarps * 16 + (lane >> 2) + 8 * (c >> 1),
                n = token + piece / kGemmWarps * 8 + 2 * (lane & 3) + (c & 1);
      if (r < args.rows && n < args.tokens) y[n * args.y_stride + r] = T(sum[c]);
    }
  }
}

}  // namespace
}  // namespace prune::kernels::cuda
