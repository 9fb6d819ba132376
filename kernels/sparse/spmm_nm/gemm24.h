// 2:4 times dense on the GPU, from a handful of tokens to many, on Hopper's warp-group tensor cores.
//
//   y[n][r] = s[r] * sum over the kept weights (r, k) of w[r][k] * x[n][k]        n = 0..tokens-1, r =
//   0..rows-1
//
// with x [tokens, cols] and y [tokens, rows] row-major, both bfloat16 or both IEEE half, sums in single
// precision, and s[r] the row's scale (8-bit weights). It reads the same stream (frag24.h) as decode24: one
// packed copy serves both. With the weights kInt8x8 and kFp8x8 x has eight bits too, int8 or e4m3; int8 sums
// are exact in a block (32 bits, up to 2^17 columns) and are added in single precision where blocks split the
// columns, those of e4m3 leave the tensor cores' shortened sums every 128 products. An epilogue can do more
// to the sums on their way to y (epilogue.h).
//
// Needs: tokens >= 1; rows a multiple of 8; cols a multiple of 64; x, y, the stream and row scales 16-byte
// aligned, rows of x in multiples of 16 bytes, y_stride a multiple of 8; a device of compute capability 9.0.
// Equal inputs and plan give equal bits.
//
// How: a block owns 128 rows by a tile of 16 to 256 tokens. Two warps feed it: one brings weights by bulk
// copies, one x by tensor copies that go to all blocks of the cluster on the same columns. Two warp groups of
// 64 rows each turn the stream's tiles into the registers of wgmma.sp: the stream's fragment order is that
// instruction's too, and int8 and int4 become floats on the way. Where a matrix has fewer blocks than the
// device has multiprocessors, the blocks of a cluster split the columns and add up their sums through shared
// memory.
#pragma once

#include <vector>

#include "kernels/sparse/cuda/epilogue.h"
#include "kernels/sparse/spmm_nm/decode24.h"

namespace prune::kernels::cuda {

// How the work is cut.
struct GemmPlan {
  int tile_tokens = 256;  // 16, 32, 64, 128 or 256
  int share = 2;          // blocks of a cluster one below the other, to which x is multicast: 1, 2 or 4
  int split = 1;          // blocks of a cluster that split the columns; share * split is at most 8
  // kFp8x8: all sums stay in the tensor cores, which keep some 14 bits of them: faster, and as precise as
  // CUBLASLT_MATMUL_DESC_FAST_ACCUM. The planner does not choose it.
  bool fast_sums = false;
};

// The plans worth measuring.
std::vector<GemmPlan> gemm_candidates(const DecodeShape& shape);

// The best guess. Pure arithmetic, as decode_candidates.
GemmPlan plan_gemm24(const DecodeShape& shape, const DeviceLimits& limits);

Status gemm24(const Matrix24& matrix, const GemmPlan& plan, const ProductCall& call,
              const Epilogue& epilogue = {});

// The same for weights k16 and kInt8x8 through mma.sp, on any device of compute capability 8.0 or later; a
// block takes tile_tokens = 128 tokens, or 64 where a block may not have 104 KB of shared memory (8.6, 8.9).
// overlap_previous is not looked at.
Status gemm24_mma(const Matrix24& matrix, int tile_tokens, const ProductCall& call,
                  const Epilogue& epilogue = {});

}  // namespace prune::kernels::cuda
