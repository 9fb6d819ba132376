// The layout of row_lists/kernel.h: building it from any packed format, and running a batch over threads.
#pragma once

#include <memory>
#include <span>

#include "kernels/sparse/plan.h"
#include "kernels/sparse/row_lists/kernel.h"
#include "kernels/sparse/row_source.h"

namespace prune::kernels {

// The best kernel for weights of this type and density, or the one named in the options; nullptr where the
// name is of another kind of kernel.
const RowListsKernel* choose_row_lists_kernel(const RowSource& source, const PrepareOptions& options);
// The same, of weights of which the share `stays` does.
const RowListsKernel* choose_row_lists_kernel(WeightType type, double stays, const PrepareOptions& options);

std::unique_ptr<const Layout> make_row_lists(const RowSource& source, const RowListsKernel& kernel);

// The same with a kernel in float, and the values as it holds them, in its order, for the caller to change.
struct FloatLists {
  std::unique_ptr<const Layout> layout;
  std::span<float> values;
};
FloatLists make_float_lists(const RowSource& source, const RowListsKernel& kernel);

}  // namespace prune::kernels
