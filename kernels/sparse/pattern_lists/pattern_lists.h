// The layout of pattern_lists/kernel.h: building it from any packed format, and running a batch over threads.
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"
#include "kernels/sparse/row_source.h"

namespace prune::kernels {

// Null where no kernel here takes the weights, or none is worth it on this processor for so many that stay;
// `may_round`: to bytes, where the options ask for it.
std::unique_ptr<const Layout> make_pattern_lists(const RowSource& source, const PrepareOptions& options,
                                                 bool may_round = false);

}  // namespace prune::kernels
