// 2:4 times dense on the GPU, many tokens, at tensor-core speed.
//
//   y[n][r] = sum over the kept weights (r, k) of w[r][k] * x[n][k]        n = 0..tokens-1, r = 0..rows-1
//
// with x [tokens, cols] and y [tokens, rows] row-major, both bfloat16 or both IEEE half as the weights are,
// and sums in single precision. It reads the same stream (frag24.h) as decode24: one packed copy serves both.
//
// Needs: tokens >= 1; rows a multiple of 8; cols a multiple of 64; x, y and the stream 16-byte aligned,
// x_stride and y_stride multiples of 8; 16-bit weights; a device of compute capability 9.0. Equal inputs give
// equal bits.
//
// How: a block owns 128 rows by 256 (or 128) tokens. One warp feeds it: x by tensor copies that go to all
// blocks of a cluster, which stand one below the other, weights by bulk copies. Two warp groups of 64 rows
// each load weights from the stream's tiles straight into the registers of wgmma.sp: the stream's fragment
// order is that instruction's too. Sums leave through shared memory by tensor stores.
#pragma once

#include "kernels/sparse/spmm_nm/decode24.h"

namespace prune::kernels::cuda {

struct GemmCall {
  Element element = Element::kBf16;
  int tokens = 0;
  const void* x = nullptr;
  int64_t x_stride = 0;  // elements from token to token
  void* y = nullptr;
  int64_t y_stride = 0;
  cudaStream_t stream = nullptr;
};

// How the work is cut.
struct GemmPlan {
  int tile_tokens = 256;  // 128 or 256
  int cluster = 2;        // blocks that share x: 1, 2 or 4
};

GemmPlan plan_gemm24(int rows, int tokens);

Status gemm24(const Matrix24& matrix, const GemmPlan& plan, const GemmCall& call);

}  // namespace prune::kernels::cuda
