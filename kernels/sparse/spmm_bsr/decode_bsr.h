// Products with block-sparse weights on the GPU, few tokens: the blocks that are there are read once, at
// memory bandwidth.
//
//   y[n][r] = sum over the blocks that hold (r, k) of w[r][k] * x[n][k]        n = 0..tokens-1, r = 0..rows-1
//
// with x [tokens, cols] and y [tokens, rows] row-major, w, x and y all bfloat16 or all IEEE half, and sums in
// single precision. Columns of absent blocks are not read: a NaN there stays out of the sum.
//
// Needs: 1 <= tokens <= 16; blocks of 16, 32, 64 or 128 rows and of as many columns, in any pair; rows and
// cols whole blocks; x and the fragments 16-byte aligned, x_stride a multiple of 8; compute capability 8.0.
// Equal inputs give equal bits.
#pragma once

#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

inline constexpr int kMaxDecodeBsrTokens = 16;

// Block-sparse weights in GPU memory: SciPy's names. Who makes it answers for indices and indptr: block
// columns in range, offsets that ascend.
struct MatrixBsr {
  int rows = 0;
  int cols = 0;
  int block_rows = 0;
  int block_cols = 0;
  const int32_t* indices = nullptr;  // [blocks]: block columns, ascending in a block row
  const int64_t* indptr = nullptr;   // [rows / block_rows + 1]
  const void* fragments = nullptr;   // the values in the device's own order, below
};

// The device's order of the values. A block is cut into fragments of 16 rows by 16 columns; those of the same
// 16 rows
// ("strip") lie together, block after block, strip after strip. In a fragment, 512 bytes, lane l = 4g + t of
// a warp has 16 bytes, the A operand of mma m16n8k16 with its inner index put so that a lane's columns are
// neighbours:
//   row g, columns 4t, 4t+1 | row g + 8, the same | row g, columns 4t+2, 4t+3 | row g + 8, the same
// As many bytes as the values: nothing is padded.
//
// fragments <- values [blocks, block_rows, block_cols] (16-byte aligned), and back, bit for bit;
// `matrix.fragments` is not looked at by the first.
Status pack_bsr(const MatrixBsr& matrix, const void* values, void* fragments, cudaStream_t stream);
Status unpack_bsr(const MatrixBsr& matrix, void* values, cudaStream_t stream);

Status decode_bsr(const MatrixBsr& matrix, const ProductCall& call);

}  // namespace prune::kernels::cuda
