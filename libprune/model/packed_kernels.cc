#include "libprune/model/packed_kernels.h"

#include "libprune/model/packed_arrays.h"

namespace prune {

bool has_kernels(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }

kernels::Plan prepare(const PackedCheckpoint& checkpoint, const PackedWeight& weight,
                      const kernels::PrepareOptions& options) {
  return PackedArrays(checkpoint, weight).prepare(options);
}

}  // namespace prune
