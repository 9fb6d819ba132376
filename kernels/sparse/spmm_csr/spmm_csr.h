// Weights as values and column numbers: the layout for a few rows of X, for any pattern.
// Many rows run on row lists (kernels/sparse/row_lists).
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"
#include "kernels/sparse/row_source.h"

namespace prune::kernels {

// For the best kernel of the weights' type, or the one that the options name; nullptr where that is of
// another kind.
std::unique_ptr<const Layout> make_csr(const RowSource& source, const PrepareOptions& options);

// Of weights that are read where they lie; scales of rows are copied. nullptr also where groups of columns
// have scales of their own.
std::unique_ptr<const Layout> make_csr_in_place(const CsrWeights& weights, const PrepareOptions& options);

}  // namespace prune::kernels
