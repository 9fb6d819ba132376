// A warp's tiles of a 2:4 stream on their way through its ring in shared memory. Device code, sm_90.
#pragma once

#include "kernels/sparse/spmm_nm/decode24_compute.h"
#include "kernels/sparse/spmm_nm/decode24_layout.h"
#include "kernels/sparse/spmm_nm/decode24_place.h"

namespace prune::kernels::cuda {
namespace {

// Column tiles that a copy brings.
template <Weight24 kWeight>
__device__ inline int copy_of(const DecodePlan& plan) {
  return kWeight == Weight24::kInt4 ? plan.copy : 1;
}

// The order in which a warp's copies bring its tiles: rounds of rows, and in each the copies col_warp,
// col_warp + col_warps, ... of a row's. One lane walks it, between two multiplications: so only additions.
template <Weight24 kWeight>
class TileWalk {
 public:
  __device__ TileWalk(const Arguments& args, const Place& place, const Role& role) {
    const DecodePlan& plan = args.plan;
    const Geometry& geometry = args.geometry;
    const int row_tile = place.row_tile(plan, 0, role.row_warp), row_step = place.row_step(plan);
    // The last round may be short of rows; the ones before are whole.
    const bool in_last = row_tile + (geometry.rounds - 1) * row_step < geometry.row_tiles;
    const int copy = copy_of<kWeight>(plan), step = plan.col_warps * copy, first = role.col_warp * copy;
    per_round_ = 0;
    for (int k = first; k < place.count; k += step) ++per_round_;
    bytes_ = uint32_t(copy) * tile_bytes24(kWeight);
    last_bytes_ = uint32_t(min(copy, place.count - first - (per_round_ - 1) * step)) * tile_bytes24(kWeight);
    left_in_round_ = per_round_;
    left_ = per_round_ * (geometry.rounds - (in_last ? 0 : 1));
    step_ = step * tile_bytes24(kWeight);
    round_jump_ =
        (int64_t(row_step) * geometry.tiles_k - int64_t(per_round_ - 1) * step) * tile_bytes24(kWeight);
    address_ =
        args.stream + (int64_t(row_tile) * geometry.tiles_k + place.first + first) * tile_bytes24(kWeight);
  }
  __device__ bool done() const { return left_ == 0; }
  // From where the next copy is, and how many bytes; not when done().
  __device__ const uint8_t* take(uint32_t& bytes) {
    const uint8_t* address = address_;
    bytes = left_in_round_ == 1 ? last_bytes_ : bytes_;
    --left_;
    if (--left_in_round_ == 0) {
      left_in_round_ = per_round_;
      address_ += round_jump_;
    } else {
      address_ += step_;
    }
    return address;
  }

 private:
  const uint8_t* address_;
  int64_t round_jump_;
  uint32_t bytes_;
  uint32_t last_bytes_;  // of a round's last copy
  int step_;
  int per_round_;
  int left_in_round_;
  int left_;
};

// One warp's ring of tiles: who fetches, waits and hands slots back.
template <Weight24 kWeight>
class Ring {
 public:
  __device__ Ring(const Arguments& args, const Place& place, const Role& role, const DecodeLayout& layout,
                  uint32_t shared)
      : walk_(args, place, role),
        tiles_(shared + layout.ring(role.warp)),
        full_(shared + layout.ring_full(role.warp)),
        slot_bytes_(uint32_t(layout.slot_bytes)),
        depth_(uint32_t(args.plan.depth)),
        policy_(ptx::policy_evict_first()) {}
  // The first copies are asked for.
  __device__ void start() {
    if (ptx::elect()) {
      for (uint32_t i = 0; i < depth_; ++i) ptx::barrier_init(full_ + 8 * i, 1);
      ptx::barrier_init_fence();
    }
    __syncwarp();
    for (uint32_t i = 0; i < depth_; ++i) fetch(i);
  }
  // Returns when the next copy's tiles are here.
  __device__ void wait() const { ptx::barrier_wait(full_ + 8 * slot_, phase_); }
  // Tile `i` of them.
  __device__ void load(LaneTile<kWeight>& tile, int i, int lane) const {
    tile.load(tiles_ + slot_ * slot_bytes_ + uint32_t(i) * tile_bytes24(kWeight), lane);
  }
  // All are loaded.
  __device__ void hand_back() {
    __syncwarp();  // all lanes have their words: the slot may be filled again
    fetch(slot_);
    if (++slot_ == depth_) slot_ = 0, phase_ ^= 1;
  }

 private:
  __device__ void fetch(uint32_t slot) {
    if (walk_.done()) return;
    uint32_t bytes;
    const uint8_t* from = walk_.take(bytes);
    if (!ptx::elect()) return;
    ptx::barrier_expect(full_ + 8 * slot, bytes);
    ptx::copy_bulk(tiles_ + slot * slot_bytes_, from, bytes, full_ + 8 * slot, policy_);
  }

  TileWalk<kWeight> walk_;
  uint32_t tiles_;
  uint32_t full_;
  uint32_t slot_bytes_;
  uint32_t depth_;
  uint32_t slot_ = 0;
  uint32_t phase_ = 0;
  uint64_t policy_;
};

// Asks the L2 for the tiles that come after those in flight, round after round of this warp's rows: while the
// stream's previous kernel ends, or x is on its way, memory is not idle.
template <Weight24 kWeight>
__device__ void prefetch_tiles(const Arguments& args, const Place& place, const Role& role) {
  const DecodePlan& plan = args.plan;
  int skip = plan.depth * copy_of<kWeight>(plan) * plan.col_warps, left = plan.prefetch;
  for (int round = 0; round < args.geometry.rounds && left > 0; ++round) {
    const int row_tile = place.row_tile(plan, round, role.row_warp), tiles = min(place.count - skip, left);
    if (row_tile >= args.geometry.row_tiles) return;
    if (tiles > 0) {
      const int64_t first = int64_t(row_tile) * args.geometry.tiles_k + place.first + skip;
      ptx::prefetch_bulk(args.stream + first * tile_bytes24(kWeight),
                         uint32_t(tiles) * tile_bytes24(kWeight));
      left -= tiles;
    }
    skip = max(0, skip - place.count);
  }
}

}  // namespace
}  // namespace prune::kernels::cuda
