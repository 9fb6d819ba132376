// What a calibrated removal of units will hold, before it starts.
#pragma once

#include "libprune/io/checkpoint.h"
#include "libprune/model/calibrated/memory_estimate.h"
#include "libprune/model/structured/model_shape.h"

namespace prune {

// Of a method that needs calibration, see MemoryEstimate. Throws
// Error(kInput) where the architecture is not supported, Error(kUsage) as calibration_length().
MemoryEstimate estimate_memory(const Checkpoint& checkpoint, const StructuredOptions& options,
                               const ModelShape& shape);

}  // namespace prune
