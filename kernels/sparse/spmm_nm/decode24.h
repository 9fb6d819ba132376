// 2:4 decode on the GPU: few tokens, weights read once at memory bandwidth.
//
//   y[n][r] = s[r] * sum over the kept weights (r, k) of w[r][k] * x[n][k]        n = 0..tokens-1, r =
//   0..rows-1
//
// with x [tokens, cols] and y [tokens, rows] row-major, both bfloat16 or both IEEE half, sums in single
// precision, and s[r] the row's scale (int8 weights only). Pruned weights never touch x: a NaN there stays
// out of the sum. Kept zeros do.
//
// Needs: weights k16, kInt8 or kInt4; 1 <= tokens <= 64; cols a multiple of 64; any rows; x and the stream
// 16-byte aligned, x_stride a multiple of 8; a device of compute capability 9.0 (thread-block clusters and
// the bulk copy engine). The sum of an output is always taken in the same order: equal inputs and plan give
// equal bits.
//
// How: a cluster of blocks shares rows and splits the columns; each warp streams its tiles of frag24.h
// through a private ring in shared memory, filled by the copy engine, into mma.sp; partial sums meet in the
// cluster's shared memory.
#pragma once

#include <vector>

#include "kernels/sparse/cuda/frag24.h"
#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

inline constexpr int kMaxDecodeTokens = 64;

struct Matrix24 {
  Weight24 weight = Weight24::k16;
  int rows = 0;
  int cols = 0;
  const void* stream = nullptr;       // frag24.h
  const float* row_scales = nullptr;  // 8-bit weights: [rows]
};

// A matrix shape and a number of tokens, within decode24's contract.
struct DecodeShape {
  Weight24 weight = Weight24::k16;
  int rows = 0;
  int cols = 0;
  int tokens = 0;
};

// How the work is cut. plan_decode24 makes good ones; every field can be set by hand to measure others.
struct DecodePlan {
  int clusters = 0;  // clusters in the grid; each walks over the row groups with this stride
  int split =
      0;  // blocks of a cluster that split the columns, and add up their sums through its shared memory
  int share = 0;      // blocks of a cluster on different rows, to which x is multicast. split, share, split *
                      // share: 1, 2, 4 or 8
  int row_warps = 0;  // warps of a block side by side along the rows, 32 rows each
  int col_warps = 0;  // warps of a block that share 32 rows and deal out its column tiles
  int depth = 0;      // copies of tiles in flight a warp
  int panel_tiles = 0;  // x moves in panels of 128 * panel_tiles columns
  int panels = 0;       // panels held; when that is all of a block's panels, x is read once
  int prefetch = 0;     // column tiles of each 32 rows that a block asks the L2 for before it starts, beyond
                        // what is in flight
  int copy = 1;         // column tiles side by side that a copy brings: 1, with int4 also 2
};

struct DeviceLimits {
  int shared_bytes = 0;  // that one block may have
  int clusters[4] = {};  // that run at once, of 1, 2, 4 and 8 blocks, one block a multiprocessor
};

// The limits of the current device; Reason::kDevice where it is older than 9.0.
Status decode_limits(DeviceLimits* limits);

// The plans worth measuring, best guess first. Pure arithmetic: any shape and limits may be asked about.
std::vector<DecodePlan> decode_candidates(const DecodeShape& shape, const DeviceLimits& limits);

// The best guess.
DecodePlan plan_decode24(const DecodeShape& shape, const DeviceLimits& limits);

// Shared memory of one block under a plan, in bytes.
int decode_shared_bytes(const DecodeShape& shape, const DecodePlan& plan);

Status decode24(const Matrix24& matrix, const DecodePlan& plan, const ProductCall& call);

}  // namespace prune::kernels::cuda
