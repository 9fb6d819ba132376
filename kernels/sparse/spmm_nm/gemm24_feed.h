// The many-token 2:4 product's outer shape: which block has which rows, tokens and columns, and the threads
// that feed it. Device code, sm_90a.
#pragma once

#include "kernels/sparse/cuda/finish.h"
#include "kernels/sparse/cuda/wgmma.h"
#include "kernels/sparse/spmm_nm/gemm24_layout.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kGroupTokenTiles = 8;  // token tiles that neighbours in time work on, for the L2

struct Arguments {
  const uint8_t* stream;
  Finish finish;
  bool plain;      // nothing but row scales on the way to a y of 16 bits
  bool light;      // Finish::is_light
  int tiles_k;     // column tiles of the stream
  int row_tiles;   // row tiles of the stream, 32 rows each
  int row_blocks;  // clusters' worth of rows
  int token_tiles;
  int clusters;
  int log_share;
  int split;
};

// Where a block stands in its cluster, and its share of the columns.
struct Place {
  int share_rank;  // among the blocks on the same columns
  int split_rank;  // among the blocks on the same rows
  int cluster;
  int first;  // this block's first column tile
  int count;  // and how many it has

  __device__ explicit Place(const Arguments& args) {
    const int rank = int(ptx::cluster_rank());
    share_rank = rank & ((1 << args.log_share) - 1);
    split_rank = rank >> args.log_share;
    cluster = int(blockIdx.x) / (args.split << args.log_share);
    first = args.tiles_k * split_rank / args.split;
    count = args.tiles_k * (split_rank + 1) / args.split - first;
  }
  __device__ int row(const Arguments& args, int row_block) const {
    return ((row_block << args.log_share) + share_rank) * kGemmRows;
  }
};

// A place in a ring of slots.
template <int kSlots>
struct RingPlace {
  int slot = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++slot == kSlots) slot = 0, parity ^= 1;
  }
};

// The order of the output tiles: bands of kGroupTokenTiles token tiles, and in a band row block after row
// block.
struct OutputTile {
  int row_block;
  int token_tile;
  __device__ OutputTile(const Arguments& args, int index) {
    const int band = index / (kGroupTokenTiles * args.row_blocks),
              in_band = index - band * kGroupTokenTiles * args.row_blocks;
    const int width = min(kGroupTokenTiles, args.token_tiles - band * kGroupTokenTiles);
    row_block = in_band / width;
    token_tile = band * kGroupTokenTiles + in_band % width;
  }
};

// A block's column tiles one after the other, for one output tile up and for the next one down: where both
// have the same tokens, as most do, the L2 still has the columns of x that the first ended with.
class Columns {
 public:
  __device__ explicit Columns(const Place& place) : next_(place.first), count_(place.count) {}
  // For the next output tile: where it begins,
  __device__ int begin() const { return next_; }
  // which way it goes,
  __device__ int step() const { return step_; }
  // and that it is over.
  __device__ void turn() { next_ += (count_ - 1) * step_, step_ = -step_; }

 private:
  int next_;
  int count_;
  int step_ = 1;
};

// Four threads feed a block, for one alone could not issue its copies fast enough: two bring half of the
// weights' row tiles each, and never wait for another kernel;
template <Weight24 kWeight, int kTokens>
__device__ void bring_weights(const Arguments& args, const Place& place, uint32_t shared, int half) {
  using L = GemmLayout<kWeight, kTokens>;
  constexpr int kTiles = kGemmRowTiles / 2;
  RingPlace<L::kWeightSlots> ring;
  Columns columns(place);
  for (int index = place.cluster; index < args.row_blocks * args.token_tiles; index += args.clusters) {
    const int first_row_tile =
        place.row(args, OutputTile(args, index).row_block) / kTileRows24 + half * kTiles;
    const uint8_t* from[kTiles];  // rows past the end: any, they are not stored
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const int64_t row_tile = min(first_row_tile + i, args.row_tiles - 1);
      from[i] = args.stream + (row_tile * args.tiles_k + columns.begin()) * L::kTileBytes;
    }
    const int64_t step = columns.step() * L::kTileBytes;
    for (int k = 0; k < place.count; ++k) {
      const uint32_t full = shared + L::weights_full(ring.slot),
                     to = shared + L::kWeights + ring.slot * L::kWeightBytes + half * kTiles * L::kTileBytes;
      ptx::barrier_wait(shared + L::weights_empty(ring.slot), ring.parity ^ 1);
      ptx::barrier_expect(full, kTiles * L::kTileBytes);
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        ptx::copy_bulk(to + i * L::kTileBytes, from[i], L::kTileBytes, full);
        from[i] += step;
      }
      ring.advance();
    }
    columns.turn();
  }
}

// and two bring x, every other half of a column tile each.
template <Weight24 kWeight, int kTokens>
__device__ void bring_x(const Arguments& args, const Place& place, const CUtensorMap* x_map, uint32_t shared,
                        int half) {
  using L = GemmLayout<kWeight, kTokens>;
  RingPlace<L::kXSlots> ring;
  if (half == 1) ring.advance();
  const int rows = kTokens >> args.log_share;
  const uint16_t sharers =
      uint16_t(((1 << (1 << args.log_share)) - 1) << (place.split_rank << args.log_share));
  ptx::wait_for_prerequisites();
  uint32_t parity = 0;
  Columns columns(place);
  for (int index = place.cluster; index < args.row_blocks * args.token_tiles; index += args.clusters) {
    if (!L::kExchangeApart && args.split > 1 && index != place.cluster) {  // sums lie where x goes
      ptx::barrier_wait(shared + L::kTaken, parity);
      parity ^= 1;
    }
    const int token = OutputTile(args, index).token_tile * kTokens;
    int col = (2 * columns.begin() + half) * L::kXCols;
    for (int k = 0; k < place.count; ++k, col += 2 * L::kXCols * columns.step()) {
      const uint32_t full = shared + L::x_full(ring.slot), to = shared + L::kX + ring.slot * L::kXBytes;
      ptx::barrier_wait(shared + L::x_empty(ring.slot), ring.parity ^ 1);
      ptx::barrier_expect(full, L::kXBytes);
      if (args.log_share == 0) {
        ptx::copy_box(to, x_map, col, token, full);
      } else {
        ptx::copy_box_multicast(to + place.share_rank * rows * 128, x_map, col,
                                token + place.share_rank * rows, full, sharers);
      }
      ring.advance(), ring.advance();
    }
    columns.turn();
  }
}

}  // namespace
}  // namespace prune::kernels::cuda
