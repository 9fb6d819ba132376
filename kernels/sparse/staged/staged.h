// 2:4 weights and bitmasks against many rows of X, staged for their kernel.
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

// With options.in_place reads the arrays of `weights`, which must outlive the layout and need no more
// alignment than their types; else they are rearranged once. Scales are copied. Null where no kernel here
// takes the pattern and type.
std::unique_ptr<const Layout> make_staged(const NmWeights& weights, const PrepareOptions& options);
std::unique_ptr<const Layout> make_staged(const BitmaskWeights& weights, const PrepareOptions& options);
// Whether the kernel taken rounds X to bytes.
bool rounds_to_bytes(const NmWeights& weights, const PrepareOptions& options);

}  // namespace prune::kernels
