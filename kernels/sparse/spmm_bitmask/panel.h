// What packing a bitmask on the device and multiplying with it share.
#pragma once

#include "kernels/sparse/cuda/strip.h"
#include "kernels/sparse/spmm_bitmask/decode_bitmask.h"

namespace prune::kernels::cuda {
namespace {

// Where lane's values begin among the warp's.
__device__ inline int values_before(uint2 masks, int lane) {
  const int own = __popc(masks.x) + __popc(masks.y);
  int sum = own;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int left = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += left;
  }
  return sum - own;
}

inline bool shape_fits(const MatrixBitmask& m) { return m.rows >= 1 && m.cols >= 8 && m.cols % 8 == 0; }
inline int strips_of(const MatrixBitmask& m) { return (m.rows + kStrip - 1) / kStrip; }
inline int panels_of(const MatrixBitmask& m) { return (m.cols + kPanelCols - 1) / kPanelCols; }

}  // namespace
}  // namespace prune::kernels::cuda
