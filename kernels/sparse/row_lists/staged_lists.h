// Row lists of weights that stay where and as they lie: those of a chunk of rows are made by the thread that
// multiplies it, for every batch. Rows are paired by the lengths of their lists alone, and share nothing.
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"

namespace prune::kernels {

// The arrays must outlive the layout; scales are copied. Null where the options name a kernel of another
// kind.
std::unique_ptr<const Layout> make_staged_lists(const NmWeights& weights, const PrepareOptions& options);
std::unique_ptr<const Layout> make_staged_lists(const BitmaskWeights& weights, const PrepareOptions& options);
std::unique_ptr<const Layout> make_staged_lists(const CsrWeights& weights, const PrepareOptions& options);
std::unique_ptr<const Layout> make_staged_lists(const WindowsWeights& weights, const PrepareOptions& options);

}  // namespace prune::kernels
