// N:M weights, as kernels/sparse/weights.h describes them: the layout for a few rows of X.
// Many rows run on row lists (kernels/sparse/row_lists).
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"

namespace prune::kernels {

// 2:4 weights for the best kernel of their type, or for the kernel that the options name; nullptr where that
// is of another kind or the pattern is not 2:4.
std::unique_ptr<const Layout> make_nm24(const NmWeights& weights, const PrepareOptions& options);

}  // namespace prune::kernels
