// Products with block-sparse weights on the GPU, many tokens, on Hopper's warp-group tensor cores.
//
//   y[n][r] = sum over k of w[r][k] * x[n][k]        n = 0..tokens-1, r = 0..rows-1
//
// with x [tokens, cols] and y [tokens, rows] row-major, w, x and y all bfloat16 or all IEEE half, and sums in
// single precision. Work is cut into slabs of 64 rows by 16 columns: those in which a block lies are
// multiplied, the others are not looked at. In a slab, what no block covers (blocks of 16 and 32 rows) counts
// as zeros: a NaN or an infinity in x reaches its rows.
//
// Needs: tokens >= 1; blocks of 16, 32, 64 or 128 rows and of as many columns, in any pair; rows and cols
// whole blocks; x, y and the slabs 16-byte aligned, x_stride and y_stride multiples of 8; compute
// capability 9.0. Equal inputs and tile give equal bits.
//
// How: a thread block owns 128 rows by a tile of 64, 128 or 256 tokens, two warp groups with 64 rows each. A
// step is 64 columns in which any of its cluster has a slab: x comes by tensor copies, each block's share to
// all blocks of the cluster, and each block's slabs by one bulk copy, for they lie in the order of wgmma's
// registers. A group multiplies its own slabs alone. Blocks of less than 128 rows take clusters of two, for
// traffic between the L2 and the multiprocessors is what bounds them; where 128 rows have the same columns,
// waiting for one another costs more.
#pragma once

#include "kernels/sparse/spmm_bsr/decode_bsr.h"

namespace prune::kernels::cuda {

inline constexpr int kSlabRows = 64;
inline constexpr int kSlabCols = 16;
inline constexpr int kSlabBytes = kSlabRows * kSlabCols * 2;
inline constexpr int kStepCols = 64;

// Weights for gemm_bsr, in GPU memory. Of every 128 * cluster rows ("group"), the steps with ascending
// columns; of every 128 rows, their slabs.
//
//   steps   a word a step: bits 0..15 its first column / 64; bits 16 + 4q.. which of its four slabs rows
//   64q..
//           of the group have, q = 0..2 * cluster - 1
//   slabs   step after step, those of the upper 64 rows and then those of the lower, ascending columns. A
//   slab
//           is four pieces of 16 rows, in each lane 4g + t of a warp has 16 bytes: row g, columns 2t, 2t+1 |
//           row g + 8, the same | row g, columns 2t+8, 2t+9 | row g + 8, the same
struct SlabsBsr {
  int rows = 0;
  int cols = 0;
  int cluster = 2;                        // 1 or 2 thread blocks; slab_cluster() knows the better one
  const uint32_t* step_starts = nullptr;  // [groups + 1]: of the groups
  const uint32_t* slab_starts = nullptr;  // [cluster * groups + 1]: of each 128 rows
  const uint32_t* steps = nullptr;        // [step_starts[groups]]
  const void* slabs = nullptr;            // kSlabBytes * slab_starts[cluster * groups]
};

constexpr int slab_cluster(int block_rows) { return block_rows < 128 ? 2 : 1; }
constexpr int64_t slab_groups(int64_t rows, int cluster) {
  return (rows + 2 * kSlabRows * cluster - 1) / (2 * kSlabRows * cluster);
}

// to.step_starts and to.slab_starts <- `matrix`, whose fragments are not looked at: how large the other
// arrays must be.
Status count_slabs(const MatrixBsr& matrix, const SlabsBsr& to, cudaStream_t stream);
// to.steps and to.slabs <- values [blocks, block_rows, block_cols] of `matrix`, after count_slabs.
Status pack_slabs(const MatrixBsr& matrix, const void* values, const SlabsBsr& to, cudaStream_t stream);

// The tile of tokens that keeps this many multiprocessors busiest: 64, 128 or 256.
int tile_for_gemm_bsr(const SlabsBsr& matrix, int tokens, int multiprocessors);

Status gemm_bsr(const SlabsBsr& matrix, int tile_tokens, const ProductCall& call);

}  // namespace prune::kernels::cuda
