// Sums of the warps and blocks that share rows, exchanged through the cluster's shared memory, to y. Device
// code, sm_90.
#pragma once

#include "kernels/sparse/spmm_nm/decode24_compute.h"
#include "kernels/sparse/spmm_nm/decode24_layout.h"
#include "kernels/sparse/spmm_nm/decode24_place.h"

namespace prune::kernels::cuda {
namespace {

// Four sums of a lane (Sums' order) to y.
template <class T>
__device__ inline void store_sums(const Arguments& args, const float (&sum)[4], int row, int token) {
  T* y = static_cast<T*>(args.y);
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const int r = row + 8 * (c >> 1), n = token + (c & 1);
    if (r < args.rows && n < args.tokens)
      y[n * args.y_stride + r] = T(args.row_scales ? args.row_scales[r] * sum[c] : sum[c]);
  }
}

// y <- the sums of this block's share of the outputs, for one piece of the tokens: all partial sums are here,
// in source order.
template <class T, int kPiece>
__device__ void combine_piece(const Arguments& args, const Place& place, const DecodeLayout& layout,
                              const float4* buffer, const Role& role, int round, int first_block) {
  const DecodePlan& plan = args.plan;
  const int groups = plan.row_warps * 2 * kPiece, sources = plan.col_warps << args.geometry.log_split;
  for (int slot = role.warp; slot < layout.exchange_slots; slot += layout.warps) {
    const int group = (slot << args.geometry.log_split) + place.split_rank;
    if (group >= groups) break;
    float sum[4] = {};
#pragma unroll 8
    for (int source = 0; source < sources; ++source) {
      const float4 part = buffer[(source * layout.exchange_slots + slot) * 32 + role.lane];
      sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
    }
    const int b = group % kPiece, m = group / kPiece % 2, row_warp = group / (2 * kPiece);
    store_sums<T>(args, sum, place.row_tile(plan, round, row_warp) * kTileRows24 + 16 * m + (role.lane >> 2),
                  (first_block + b) * 8 + 2 * (role.lane & 3));
  }
}

// One piece of a warp's sums to the blocks that add them up.
template <int kBlocks, int kPiece>
__device__ void send_piece(const Arguments& args, const Place& place, const DecodeLayout& layout,
                           uint32_t shared, const Sums<kBlocks>& sums, const Role& role, int first,
                           uint32_t exchange) {
  const DecodePlan& plan = args.plan;
  const uint32_t mine = shared + layout.exchange(exchange & 1) + role.lane * 16 +
                        (place.split_rank * plan.col_warps + role.col_warp) * layout.exchange_slots * 512;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int b = 0; b < kPiece; ++b) {
      const int group = (role.row_warp * 2 + m) * kPiece + b;
      const uint32_t to = mine + (group >> args.geometry.log_split) * 512;
      if (plan.split == 1) {
        ptx::store_shared_16(to, sums[m][first + b]);
      } else {
        ptx::store_remote(to, place.on_same_rows(group & (plan.split - 1)), sums[m][first + b],
                          shared + layout.exchanged(exchange & 1));
      }
    }
  }
}

// Returns when everything of an exchange is here, and every warp is done with the exchange before.
template <int kPiece>
__device__ void await_pieces(const Arguments& args, const Place& place, const DecodeLayout& layout,
                             uint32_t shared, const Role& role, uint32_t exchange) {
  const DecodePlan& plan = args.plan;
  if (plan.split == 1) {
    asm volatile("bar.sync 1, %0;" ::"r"(layout.warps * 32) : "memory");
    return;
  }
  const int groups = plan.row_warps * 2 * kPiece, sources = plan.split * plan.col_warps;
  const int slots_here = (groups - place.split_rank + plan.split - 1) >> args.geometry.log_split;
  const uint32_t barrier = shared + layout.exchanged(exchange & 1);
  // Every warp arrives everywhere: it has read what its peers overwrite next. The sums themselves count as
  // bytes.
  __syncwarp();
  if (role.lane < plan.split) ptx::barrier_arrive_remote(barrier, place.on_same_rows(role.lane));
  if (role.warp == 0 && role.lane == 0) ptx::barrier_expect(barrier, slots_here * sources * 512);
  ptx::barrier_wait(barrier, exchange >> 1 & 1);
}

// A warp's sums of one round to y. Where other warps or blocks share the rows, one exchange a piece of
// tokens. A buffer is written again two exchanges later, and who takes part in the exchange between has read
// it: hence two, and two barriers, so that early bytes of one exchange never count for the other.
template <class T, int kBlocks>
__device__ void combine(const Arguments& args, const Place& place, const DecodeLayout& layout,
                        uint8_t* storage, const Sums<kBlocks>& sums, const Role& role, int round,
                        uint32_t& exchanges) {
  constexpr int kPiece = kBlocks < 2 ? 1 : 2;
  if (args.plan.split * args.plan.col_warps == 1) {  // nothing to combine
    const int row = place.row_tile(args.plan, round, role.row_warp) * kTileRows24 + (role.lane >> 2);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
        store_sums<T>(args, sums[m][b], row + 16 * m, 8 * b + 2 * (role.lane & 3));
    }
    return;
  }
  const uint32_t shared = ptx::shared_address(storage);
  const bool both_free = exchanges == 0;
#pragma unroll
  for (int first = 0; first < kBlocks; first += kPiece) {
    if (first != kPiece || !both_free)
      send_piece<kBlocks, kPiece>(args, place, layout, shared, sums, role, first, exchanges);
    if constexpr (kBlocks > kPiece) {
      if (first == 0 && both_free)
        send_piece<kBlocks, kPiece>(args, place, layout, shared, sums, role, kPiece, exchanges + 1);
    }
    await_pieces<kPiece>(args, place, layout, shared, role, exchanges);
    const float4* buffer = reinterpret_cast<const float4*>(storage + layout.exchange(exchanges & 1));
    combine_piece<T, kPiece>(args, place, layout, buffer, role, round, first);
    ++exchanges;
  }
}

}  // namespace
}  // namespace prune::kernels::cuda
