// Scales of groups of columns, as kernels read them where they lie.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

// Of one row: column k's is row[k >> shift]. Null where only the row has a scale, or there is none.
struct GroupScales {
  const float* row = nullptr;
  int shift = 0;
};

inline GroupScales group_scales(const Weights& w, int64_t r) {
  if (w.scale_group == 0) return {};
  return {w.scales + r * scales_per_row(w), std::countr_zero(static_cast<uint64_t>(w.scale_group))};
}

inline size_t group_scale_bytes(const Weights& w) {
  return w.scale_group == 0 ? 0 : static_cast<size_t>(w.rows * scales_per_row(w)) * sizeof(float);
}

// Those of rows, empty where there are none.
inline std::vector<float> copy_row_scales(const Weights& w) {
  const bool of_rows = w.scales != nullptr && w.scale_group == 0;
  return of_rows ? std::vector<float>(w.scales, w.scales + w.rows) : std::vector<float>{};
}

}  // namespace prune::kernels
