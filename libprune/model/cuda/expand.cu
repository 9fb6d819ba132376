#include "libprune/model/cuda/expand.h"

#include <algorithm>

#include "libprune/model/cuda/launch.h"

namespace prune::gpu {
namespace {

using kernels::cuda::MatrixRelative;

constexpr int kWarps = 4;         // of a thread block, each on rows of its own
constexpr int kSpan = 2048;       // columns of a row that lie in shared memory at a time
constexpr uint32_t kAbsent = 15;  // the code of an entry that is no weight and passes so many columns

// How many columns eight entries pass.
__device__ int passed_by(uint32_t codes) {
  int passed = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint32_t code = codes >> (4 * i) & 15;
    passed += int(min(code + 1, kAbsent));
  }
  return passed;
}

// A lane takes a vector of eight entries and learns by a scan where it begins. A vector that goes beyond the
// span is taken up again with the next one.
__global__ void __launch_bounds__(32 * kWarps) expand_kernel(const MatrixRelative matrix, uint16_t* dense) {
  __shared__ __align__(16) uint16_t spans[kWarps][kSpan];
  follow_previous();
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const int row = int(blockIdx.x) * kWarps + warp;
  if (row >= matrix.rows) return;
  uint16_t* span = spans[warp];
  uint32_t at = matrix.starts[row];
  const uint32_t end = matrix.starts[row + 1];
  int column = 0;  // where vector `at` begins
  for (int begin = 0; begin < matrix.cols; begin += kSpan) {
    const int width = min(kSpan, matrix.cols - begin);
    for (int c = 8 * lane; c < width; c += 8 * 32)
      *reinterpret_cast<uint4*>(span + c) = make_uint4(0, 0, 0, 0);
    __syncwarp();
    while (at < end && column < begin + width) {
      const bool exists = at + lane < end;
      const uint32_t codes = exists ? matrix.codes[at + lane] : 0;
      const int passed = exists ? passed_by(codes) : 0;
      int own = passed;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int left = __shfl_up_sync(~0u, own, step);
        if (lane >= step) own += left;
      }
      int c = column + own - passed;  // of the first entry's begin
      if (exists && c < begin + width) {
        const uint4 bits = static_cast<const uint4*>(matrix.values)[at + lane];
        const uint16_t* values = reinterpret_cast<const uint16_t*>(&bits);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const uint32_t code = codes >> (4 * i) & 15;
          if (code == kAbsent) {
            c += int(kAbsent);
            continue;
          }
          c += int(code);
          if (c >= begin && c < begin + width) span[c - begin] = values[i];
          ++c;
        }
      }
      // On to the first vector that reaches beyond the span, or past all of these.
      const unsigned beyond = __ballot_sync(~0u, exists && column + own > begin + width);
      const int taken = beyond ? __ffs(int(beyond)) - 1 : 32;
      const int before = taken > 0 ? __shfl_sync(~0u, own, taken - 1) : 0;
      column += before;
      at += uint32_t(taken);
      if (beyond) break;
    }
    __syncwarp();
    uint16_t* to = dense + int64_t(row) * matrix.cols + begin;
    for (int c = 8 * lane; c < width; c += 8 * 32)
      *reinterpret_cast<uint4*>(to + c) = *reinterpret_cast<const uint4*>(span + c);
    __syncwarp();
  }
}

}  // namespace

void expand_relative(const MatrixRelative& matrix, uint16_t* dense, cudaStream_t stream) {
  launch_after(expand_kernel, dim3(unsigned((matrix.rows + kWarps - 1) / kWarps)), 32 * kWarps, stream,
               matrix, dense);
}

}  // namespace prune::gpu
