// How 2:4 decode divides a block's shared memory. One description for the kernel, the planner and the
// launcher.
#pragma once

#include "kernels/sparse/spmm_nm/decode24.h"

#ifdef __CUDACC__
#define PRUNE_HOST_DEVICE __host__ __device__
#else
#define PRUNE_HOST_DEVICE
#endif

namespace prune::kernels::cuda {

// Blocks of eight tokens that the kernel is compiled for: 1, 2, 4 or 8.
PRUNE_HOST_DEVICE constexpr int decode_token_blocks(int tokens) {
  return tokens <= 8 ? 1 : tokens <= 16 ? 2 : tokens <= 32 ? 4 : 8;
}
// Warps that multiply, at most: more tokens need more registers a thread. Registers are dealt out to four
// warps at a time, and one warp brings x.
PRUNE_HOST_DEVICE constexpr int decode_max_warps(Weight24 weight, int token_blocks) {
  const bool groups = weight == Weight24::kInt4;  // sums of one group beside the sums
  return token_blocks <= 2 ? 15 : token_blocks == 4 ? (groups ? 11 : 15) : groups ? 7 : 11;
}

// Blocks of eight tokens whose sums are exchanged at a time.
PRUNE_HOST_DEVICE constexpr int decode_piece(int tokens) { return tokens <= 8 ? 1 : 2; }

struct DecodeLayout {
  int slot_bytes;  // of a ring: what one copy brings
  int depth;
  int warps;
  int panels;
  int x_row_bytes;  // 16 bytes more than the data: eight rows then start in eight different bank groups
  int panel_bytes;
  int exchange_slots;  // pieces of sums, 32 lanes of 16 bytes, that a block of the cluster combines at a time
  int exchange_bytes;  // one of two buffers: [block][col_warp][slot]

  PRUNE_HOST_DEVICE constexpr DecodeLayout(Weight24 weight, int tokens, const DecodePlan& plan)
      : slot_bytes(tile_bytes24(weight) * plan.copy),
        depth(plan.depth),
        warps(plan.row_warps * plan.col_warps),
        panels(plan.panels),
        x_row_bytes(plan.panel_tiles * kTileCols24 * 2 + 16),
        panel_bytes(tokens * x_row_bytes),
        exchange_slots((plan.row_warps * 2 * decode_piece(tokens) + plan.split - 1) / plan.split),
        exchange_bytes(plan.split * plan.col_warps * exchange_slots * 512) {}

  PRUNE_HOST_DEVICE constexpr int ring(int warp) const { return warp * depth * slot_bytes; }
  PRUNE_HOST_DEVICE constexpr int panel(int slot) const { return ring(warps) + slot * panel_bytes; }
  PRUNE_HOST_DEVICE constexpr int exchange(int buffer) const {
    return panel(panels) + buffer * exchange_bytes;
  }
  // Barriers: eight bytes each.
  PRUNE_HOST_DEVICE constexpr int ring_full(int warp) const { return exchange(2) + warp * depth * 8; }
  PRUNE_HOST_DEVICE constexpr int panel_full(int slot) const { return ring_full(warps) + slot * 8; }
  PRUNE_HOST_DEVICE constexpr int panel_empty(int slot) const { return panel_full(panels) + slot * 8; }
  PRUNE_HOST_DEVICE constexpr int exchanged(int buffer) const { return panel_empty(panels) + buffer * 8; }
  PRUNE_HOST_DEVICE constexpr int bytes() const { return exchanged(2); }
};

// Whether a plan is whole and legal for a problem. Blocks that share x must each have a row of it to bring.
// The tiles of a copy are multiplied with one panel.
inline bool decode_plan_fits(Weight24 weight, int cols, int tokens, const DecodePlan& plan) {
  const int tiles_k = int(tiles_along24(cols, kTileCols24)), warps = plan.row_warps * plan.col_warps;
  const auto power = [](int n) { return n == 1 || n == 2 || n == 4 || n == 8; };
  return power(plan.split) && power(plan.share) && plan.split * plan.share <= 8 && plan.share <= tokens &&
         plan.clusters >= 1 && plan.split <= tiles_k && plan.row_warps >= 1 && plan.col_warps >= 1 &&
         warps <= decode_max_warps(weight, decode_token_blocks(tokens)) && plan.depth >= 1 &&
         (plan.copy == 1 || (plan.copy == 2 && weight == Weight24::kInt4 && plan.panel_tiles % 2 == 0)) &&
         plan.panel_tiles >= 1 && plan.panel_tiles <= 16 && plan.panels >= 1 && plan.prefetch >= 0;
}

}  // namespace prune::kernels::cuda
