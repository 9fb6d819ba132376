#include "libprune/model/cuda/expand.h"

#include <algorithm>

#include "libprune/model/cuda/launch.h"

namespace prune::gpu {
namespace {

using kernels::cuda::MatrixRelative;

constexpr int kSpanBytes = 32768;  // of a thread block's rows in shared memory
constexpr uint32_t kAbsent = 15;   // the code of an entry that is no weight and passes so many columns

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

// Eight entries.
struct Vector {
  uint32_t codes = 0;
  uint4 values = make_uint4(0, 0, 0, 0);
  bool exists = false;

  __device__ void load(const MatrixRelative& matrix, uint32_t at, uint32_t end) {
    exists = at < end;
    if (!exists) return;
    codes = matrix.codes[at];
    values = static_cast<const uint4*>(matrix.values)[at];
  }

  // Its weights within [begin, end), from `column` on, into the span that begins there.
  __device__ void store(int column, int begin, int end, uint16_t* span) const {
    const uint16_t* eight = reinterpret_cast<const uint16_t*>(&values);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t code = codes >> (4 * i) & 15;
      column += int(code);
      if (code == kAbsent) continue;
      if (column >= begin && column < end) span[column - begin] = eight[i];
      ++column;
    }
  }
};

// A warp makes a row, kSpan columns at a time. A lane takes a vector and learns by a scan where it begins;
// the next 32 are on their way. A vector that goes beyond the span is taken up again with the next one.
template <int kSpan>
__global__ void expand_kernel(const MatrixRelative matrix, uint16_t* dense) {
  constexpr int kWarps = kSpanBytes / 2 / kSpan;
  __shared__ __align__(16) uint16_t spans[kWarps][kSpan];
  follow_previous();
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const int row = int(blockIdx.x) * kWarps + warp;
  if (row >= matrix.rows) return;
  uint16_t* span = spans[warp];
  uint32_t at = matrix.starts[row];
  const uint32_t end = at + matrix.lengths[row];
  int column = 0;  // where vector `at` begins
  Vector next;
  next.load(matrix, at + lane, end);
  for (int begin = 0; begin < matrix.cols; begin += kSpan) {
    const int width = min(kSpan, matrix.cols - begin);
    for (int c = 8 * lane; c < width; c += 8 * 32)
      *reinterpret_cast<uint4*>(span + c) = make_uint4(0, 0, 0, 0);
    __syncwarp();
    while (at < end && column < begin + width) {
      const Vector now = next;
      next.load(matrix, at + 32 + lane, end);
      const int passed = now.exists ? passed_by(now.codes) : 0;
      int own = passed;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int left = __shfl_up_sync(~0u, own, step);
        if (lane >= step) own += left;
      }
      if (now.exists) now.store(column + own - passed, begin, begin + width, span);
      const unsigned beyond = __ballot_sync(~0u, now.exists && column + own > begin + width);
      const int taken = beyond ? __ffs(int(beyond)) - 1 : 32;
      column += taken > 0 ? __shfl_sync(~0u, own, taken - 1) : 0;
      at += uint32_t(taken);
      if (!beyond) continue;
      next.load(matrix, at + lane, end);
      break;
    }
    __syncwarp();
    uint16_t* to = dense + int64_t(row) * matrix.cols + begin;
    for (int c = 8 * lane; c < width; c += 8 * 32)
      *reinterpret_cast<uint4*>(to + c) = *reinterpret_cast<const uint4*>(span + c);
    __syncwarp();
  }
}

template <int kSpan>
void launch(const MatrixRelative& matrix, uint16_t* dense, cudaStream_t stream) {
  constexpr int kWarps = kSpanBytes / 2 / kSpan;
  launch_after(expand_kernel<kSpan>, dim3(unsigned((matrix.rows + kWarps - 1) / kWarps)), 32 * kWarps, stream,
               matrix, dense);
}

}  // namespace

void expand_relative(const MatrixRelative& matrix, uint16_t* dense, cudaStream_t stream) {
  if (matrix.cols <= 2048) {
    launch<2048>(matrix, dense, stream);
  } else if (matrix.cols <= 4096) {
    launch<4096>(matrix, dense, stream);
  } else {
    launch<8192>(matrix, dense, stream);
  }
}

}  // namespace prune::gpu
