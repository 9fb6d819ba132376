// Dense weights: the layout for a few rows of X. Many rows are a dense library's.
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"

namespace prune::kernels {

// For the best kernel of the weights' type, or the one that the options name; nullptr where that is of
// another kind.
std::unique_ptr<const Layout> make_gemv(const DenseWeights& weights, const PrepareOptions& options);

}  // namespace prune::kernels
