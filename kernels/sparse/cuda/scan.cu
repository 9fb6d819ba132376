#include "kernels/sparse/cuda/scan.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kThreads = 1024;

// One block goes over the counts, 1024 at a time: packing happens once, and there are a hundred thousand.
__global__ void __launch_bounds__(kThreads) scan(uint32_t* counts, int64_t count) {
  __shared__ uint32_t of_warps[kThreads / 32];
  const int warp = int(threadIdx.x) / 32, lane = threadIdx.x & 31;
  uint32_t before = 0;
  for (int64_t begin = 0; begin <= count; begin += kThreads) {
    const int64_t at = begin + threadIdx.x;
    const uint32_t own = at < count ? counts[at] : 0;
    uint32_t sum = own;
    for (int step = 1; step < 32; step *= 2) {
      const uint32_t left = __shfl_up_sync(~0u, sum, step);
      if (lane >= step) sum += left;
    }
    if (lane == 31) of_warps[warp] = sum;
    __syncthreads();
    uint32_t lower = 0, all = 0;
    for (int i = 0; i < kThreads / 32; ++i) {
      if (i < warp) lower += of_warps[i];
      all += of_warps[i];
    }
    if (at <= count) counts[at] = before + lower + sum - own;
    before += all;
    __syncthreads();
  }
}

}  // namespace

Status counts_to_starts(uint32_t* counts, int64_t count, cudaStream_t stream) {
  scan<<<1, kThreads, 0, stream>>>(counts, count);
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
