#include "libprune/model/packed_kernels.h"

#include "libprune/model/packed_arrays.h"

namespace prune {

DType held_dtype(std::string_view kernel) {
  const auto has = [&](std::string_view type) { return kernel.find(type) != std::string_view::npos; };
  if (has("_i8_") || has("_bytes_")) return DType::kI8;
  if (has("_bf16_")) return DType::kBF16;
  return has("_f16_") ? DType::kF16 : DType::kF32;
}

kernels::Plan prepare(const PackedCheckpoint& checkpoint, const PackedWeight& weight,
                      const kernels::PrepareOptions& options) {
  checkpoint.check(weight);
  return PackedArrays(checkpoint, weight).prepare(options);
}

}  // namespace prune
