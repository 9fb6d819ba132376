// Packed weights, multiplied where they lie, in a mapped file for example: nothing is rearranged, so a layer
// is ready at once and takes no memory of its own.
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

// For a few rows of X. Reads the arrays of `weights`, which must outlive the layout and need no more
// alignment than their types; scales of rows are copied. Null where no kernel here takes the pattern and
// type.
std::unique_ptr<const Layout> make_in_place(const NmWeights& weights, const PrepareOptions& options);
std::unique_ptr<const Layout> make_in_place(const BitmaskWeights& weights, const PrepareOptions& options);
std::unique_ptr<const Layout> make_in_place(const BsrWeights& weights, const PrepareOptions& options);

}  // namespace prune::kernels
