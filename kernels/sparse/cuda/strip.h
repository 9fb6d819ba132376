// What the kernels share whose thread blocks own 16 rows ("a strip") and whose warps share out the columns.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace prune::kernels::cuda {

inline constexpr int kStrip = 16;

struct StripOutput {
  void* y;           // [tokens, rows]
  int64_t y_stride;  // elements
  int rows;
  int tokens;
};

// The warps of a thread block that share a strip: first, first + step, ...
struct StripWarps {
  int first;
  int step;
  int rank;   // of this one
  int count;  // of all
};

// y of a strip's 16 rows <- the sums of all its warps, in their order. `sums` are accumulators of mma
// m16n8k16, kBlocks times 8 tokens; `parts` is shared memory for kBlocks * 32 of them a warp. All threads of
// the block come here, each with a strip; one past the last row has nothing to write.
template <class T, int kBlocks>
__device__ inline void combine_strip(float4* parts, const float (&sums)[kBlocks][4],
                                     const StripOutput& output, int strip, const StripWarps& warps,
                                     int lane) {
  const int own = warps.first + warps.rank * warps.step;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b)
    parts[(own * kBlocks + b) * 32 + lane] = make_float4(sums[b][0], sums[b][1], sums[b][2], sums[b][3]);
  __syncthreads();
  for (int b = warps.rank; b < kBlocks; b += warps.count) {
    float sum[4] = {};
#pragma unroll 2
    for (int from = 0; from < warps.count; ++from) {
      const float4 part = parts[((warps.first + from * warps.step) * kBlocks + b) * 32 + lane];
      sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int n = 8 * b + 2 * (lane & 3) + (c & 1), row = strip * kStrip + (lane >> 2) + 8 * (c >> 1);
      if (n < output.tokens && row < output.rows)
        static_cast<T*>(output.y)[n * output.y_stride + row] = T(sum[c]);
    }
  }
}

}  // namespace prune::kernels::cuda
