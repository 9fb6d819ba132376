// Y[n, rows] = X[n, cols] W^T with W 2:4, or of any pattern, and many rows of X.
//
// Two of four inputs can be chosen in six ways, so a block of the panel is rewritten with all six pairs of
// every group of four inputs, three times its size and still in the first-level cache:
//     pair (i, j) of group g, i < j:    x[4 g + i][c] | x[4 g + j][c] << 16    for every column c
// What a row of W keeps of a group is then one pair of weights, as it lies in the file, against one row of
// this block: a multiply-add for each of its vectors, with that vector as its operand in memory. The index
// nibble i + 4 j, shifted to its place, is the address. Nothing is gathered and nothing is multiplied by
// zero: half of the products of a dense kernel.
//
// Without a pattern a group is no pair, one, or where more than two of its weights stay two of them; a row's
// pairs of a block become a list, of weights and places.
//
// Weights are staged (staged/kernel.h); those that are staged once have rows that choose the same pairs
// matched.
#pragma once

#include "kernels/sparse/staged/kernel.h"

namespace prune::kernels {

#define PRUNE_SIX_PAIRS_NM24_KERNEL(name, needs) extern const StagedKernel<Nm24Rows> name;
#define PRUNE_SIX_PAIRS_BITMASK_KERNEL(name, needs) extern const StagedKernel<BitmaskRows> name;
#include "kernels/sparse/six_pairs/kernels.inc"
#undef PRUNE_SIX_PAIRS_NM24_KERNEL
#undef PRUNE_SIX_PAIRS_BITMASK_KERNEL

}  // namespace prune::kernels
