// Pruning one linear layer of a checkpoint with a calibrated method: from its weights as floats to the bytes
// of the pruned tensor.
#pragma once

#include <cstddef>
#include <span>

#include <prune/report.h>

#include "libprune/io/dtype.h"
#include "libprune/model/architecture.h"
#include "libprune/model/calibrated/layer_method.h"

namespace prune {

struct StoredTensor {
  DType dtype = DType::kF32;
  Orientation orientation = Orientation::kOutIn;
  std::span<const std::byte> before;  // the tensor in the checkpoint
  std::span<std::byte> after;         // of the same size: the pruned one
};

// Rounds `weights` [out, in] to the tensor's type, writes them to stored.after and, widened again, back to
// `weights`. A weight that is still the dense one keeps its bits. Counts zeros.
void store_matrix(const StoredTensor& stored, View<float> weights, TensorReport& report);

// Runs the method on the task's dense weights, stores the result, and leaves it in `weights`. Fills the
// report's counts, errors, damping and time. The errors are
// ||X (W' - W)^T||^2 / ||X W^T||^2 for the pruned weights before and after the others were changed, the
// latter rounded. Returns the scales of a method that rounds.
ScaleGrid prune_matrix(const LayerMethod& method, const LayerTask& task, const StoredTensor& stored,
                       View<float> weights, TensorReport& report);

}  // namespace prune
