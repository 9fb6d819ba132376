// Weights in blocks, as kernels/sparse/weights.h describes them.
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"

namespace prune::kernels {

// The layouts for a few and for many rows of X, for the best kernel or the one that the options name; nullptr
// where that is of another kind, or where the blocks are not a multiple of its strips high.
std::unique_ptr<const Layout> make_bsr_few(const BsrWeights& weights, const PrepareOptions& options);
std::unique_ptr<const Layout> make_bsr_tiles(const BsrWeights& weights, const PrepareOptions& options);

}  // namespace prune::kernels
