// Masks for training in GPU memory: 2:4 along rows and along columns, so that W and its transpose both run on
// sparse tensor cores (Hubara et al., "Accelerated Sparse Neural Training", arXiv 2102.08124).
//
// Of every tile of 4 x 4 weights eight stay, two in each row and two in each column: those with the largest
// sum of magnitudes among the 90 such choices. Sums are taken in single precision, ((row 0 + row 1) + (row 2
// + row 3)) of the rows' pairs; among equal ones the choice is fixed, so equal inputs give equal masks. NaN
// and infinity count as 65504 (IEEE half), and whatever is above 2^123 as 2^123 (bfloat16).
#pragma once

#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

// bitmask (U8 [rows, cols / 8], column j is bit j % 8 of byte j / 8) <- the mask of `from`, [rows, cols]
// 16-bit floats, row_stride elements from row to row. pruned, where it is not null: the weights with +0 where
// the mask is not set, [rows, cols] with the same stride; it may be `from`. Needs: rows a multiple of 4, cols
// of 8, row_stride of 4, `from` and `pruned` 8-byte aligned.
Status transposable_mask(Element element, int64_t rows, int64_t cols, const void* from, int64_t row_stride,
                         void* bitmask, void* pruned, cudaStream_t stream);

}  // namespace prune::kernels::cuda
