// Where a block of the 2:4 decode kernel stands in the grid, and a warp in its block: who has which rows and
// columns. Device code.
#pragma once

#include "kernels/sparse/cuda/ptx.h"
#include "kernels/sparse/spmm_nm/decode24.h"

namespace prune::kernels::cuda {
namespace {

// What the host works out once, so that no block divides before its first fetch.
struct Geometry {
  int log_split;   // log2 of plan.split
  int tiles_k;     // column tiles of the matrix
  int row_tiles;   // row tiles
  int rounds;      // groups of rows that each cluster walks over
  int reciprocal;  // 65536 / row_warps, rounded up: warp / row_warps is warp * reciprocal >> 16
};

struct Arguments {
  const uint8_t* stream;
  const void* x;
  void* y;
  const float* row_scales;
  int64_t x_stride;
  int64_t y_stride;
  int rows;
  int cols;
  int tokens;
  DecodePlan plan;
  Geometry geometry;
};

// Where a block stands in the grid, and its share of the columns.
struct Place {
  const Geometry& geometry;
  int split_rank;  // among the blocks on the same rows
  int share_rank;  // among the blocks on the same columns
  int rows_at;     // the block's place among all that walk over the rows
  int first;       // this block's first column tile
  int count;       // and how many it has

  __device__ explicit Place(const Arguments& args) : geometry(args.geometry) {
    const int rank = int(ptx::cluster_rank());
    split_rank = rank & (args.plan.split - 1);
    share_rank = rank >> geometry.log_split;
    rows_at = int(blockIdx.x) >> geometry.log_split;
    first = geometry.tiles_k * split_rank >> geometry.log_split;
    count = (geometry.tiles_k * (split_rank + 1) >> geometry.log_split) - first;
  }
  __device__ int row_step(const DecodePlan& plan) const {
    return plan.clusters * plan.share * plan.row_warps;
  }
  __device__ int row_tile(const DecodePlan& plan, int round, int row_warp) const {
    return round * row_step(plan) + rows_at * plan.row_warps + row_warp;
  }
  // The cluster's rank of the block that has part `split` of these rows, and of the one on these columns at
  // `share`.
  __device__ int on_same_rows(int split) const { return (share_rank << geometry.log_split) + split; }
  __device__ int on_same_columns(int share) const { return (share << geometry.log_split) + split_rank; }
};

// A warp's part in its block.
struct Role {
  int warp;
  int lane;
  int row_warp;
  int col_warp;

  __device__ Role(const Arguments& args, int warp_index, int lane_index)
      : warp(warp_index), lane(lane_index) {
    col_warp = warp * args.geometry.reciprocal >> 16;
    row_warp = warp - col_warp * args.plan.row_warps;
  }
};

}  // namespace
}  // namespace prune::kernels::cuda
