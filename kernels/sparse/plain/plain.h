// Dense weights, multiplied where they lie: layers that were not pruned, and the peer that sparse ones must
// beat.
#pragma once

#include "kernels/sparse/plan.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

// A plan for up to a few dozen rows of X: W is read once for every sixteen. W is row-major, [rows, cols]
// floats or bf16, aligned to the type; it is not copied and must outlive the plan. Plan::bytes() counts it.
Plan prepare_plain(const Weights& weights, const PrepareOptions& options = {});

}  // namespace prune::kernels
