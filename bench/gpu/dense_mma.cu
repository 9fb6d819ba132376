#include <cuda_bf16.h>

#include "bench/gpu/dense_mma.h"
#include "bench/gpu/harness.h"
#include "kernels/sparse/cuda/ptx.h"

namespace prune::bench {
namespace {

namespace ptx = kernels::cuda::ptx;

constexpr int kTile = 128;  // rows and tokens of a block: four warps of 64 by 64
constexpr int kDepth = 64;  // pairs of bytes of a row in a stage: a column of bfloat16, two of int8
constexpr int kStages = 3;
constexpr int kThreads = 128;
constexpr int kOperandBytes = kTile * kDepth * 2;
constexpr int kStageBytes = 2 * kOperandBytes;
constexpr int kOutRowBytes = kTile * 2 + 16;
constexpr int kBand = 8;

__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same registers, twice the columns.
__device__ inline void mma(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ void fetch(uint32_t to, const uint16_t* from, int k) {
  const int chunk = int(threadIdx.x) % 8;
#pragma unroll
  for (int row = int(threadIdx.x) / 8; row < kTile; row += kThreads / 8) {
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + row * 128 + ((chunk ^ (row & 7)) << 4)),
        "l"(from + int64_t(row) * k + chunk * 8)
        : "memory");
  }
}

__device__ inline uint32_t address(uint32_t operand, int row, int chunk) {
  return operand + row * 128 + ((chunk ^ (row & 7)) << 4);
}

template <class Sum>
__device__ inline void multiply_stage(Sum (&sums)[4][8][4], uint32_t w, uint32_t x, int lane) {
#pragma unroll
  for (int s = 0; s < kDepth / 32; ++s) {
    uint32_t a[2][4][4];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int m = 0; m < 4; ++m)
        ptx::load_matrix_x4(a[h][m], address(w, 16 * m + (lane & 15), 4 * s + 2 * h + (lane >> 4)));
    }
#pragma unroll
    for (int b = 0; b < 8; ++b) {
      uint32_t tokens[4];
      ptx::load_matrix_x4(tokens, address(x, 8 * b + (lane & 7), 4 * s + (lane >> 3)));
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int m = 0; m < 4; ++m) mma(sums[m][b], a[h][m], tokens[2 * h], tokens[2 * h + 1]);
      }
    }
  }
}

// k in pairs of bytes.
template <class Sum>
__global__ void __launch_bounds__(kThreads)
    kernel(int m, int n, int k, const uint16_t* w, const uint16_t* x, __nv_bfloat16* y) {
  extern __shared__ __align__(128) uint8_t storage[];
  const uint32_t shared = ptx::shared_address(storage);
  const int warp = int(threadIdx.x) / 32, lane = threadIdx.x & 31;
  const int row_blocks = m / kTile, token_tiles = n / kTile;
  const int band = int(blockIdx.x) / (kBand * row_blocks),
            in_band = int(blockIdx.x) - band * kBand * row_blocks;
  const int width = min(kBand, token_tiles - band * kBand);
  const int row0 = in_band / width * kTile, token0 = (band * kBand + in_band % width) * kTile;
  w += int64_t(row0) * k, x += int64_t(token0) * k;
  const int stages = k / kDepth;
  const auto fetch_stage = [&](int i) {
    if (i < stages) {
      const uint32_t to = shared + i % kStages * kStageBytes;
      fetch(to, w + i * kDepth, k);
      fetch(to + kOperandBytes, x + i * kDepth, k);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  Sum sums[4][8][4] = {};
  fetch_stage(0), fetch_stage(1);
  for (int i = 0; i < stages; ++i) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    fetch_stage(i + 2);
    const uint32_t stage = shared + i % kStages * kStageBytes;
    multiply_stage(sums, stage + (warp & 1) * 64 * 128, stage + kOperandBytes + (warp >> 1) * 64 * 128, lane);
  }
  __syncthreads();
#pragma unroll
  for (int a = 0; a < 4; ++a) {
#pragma unroll
    for (int b = 0; b < 8; ++b) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int token = (warp >> 1) * 64 + 8 * b + 2 * (lane & 3) + (c & 1),
                  row = (warp & 1) * 64 + 16 * a + (lane >> 2) + 8 * (c >> 1);
        *reinterpret_cast<__nv_bfloat16*>(storage + token * kOutRowBytes + row * 2) =
            __float2bfloat16(float(sums[a][b][c]));
      }
    }
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < kTile * kTile / 8; i += kThreads) {
    const int token = i / (kTile / 8), row = i % (kTile / 8) * 8;
    *reinterpret_cast<uint4*>(y + int64_t(token0 + token) * m + row0 + row) =
        *reinterpret_cast<const uint4*>(storage + token * kOutRowBytes + row * 2);
  }
}

template <class Sum>
void launch(int m, int n, int pairs, const void* w, const void* x, void* y, cudaStream_t stream) {
  constexpr int kBytes = kStages * kStageBytes;
  cuda(cudaFuncSetAttribute(kernel<Sum>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  kernel<Sum><<<unsigned(m / kTile * (n / kTile)), kThreads, kBytes, stream>>>(
      m, n, pairs, static_cast<const uint16_t*>(w), static_cast<const uint16_t*>(x),
      static_cast<__nv_bfloat16*>(y));
  cuda(cudaGetLastError());
}

}  // namespace

void dense_mma(int m, int n, int k, const void* w, const void* x, void* y, cudaStream_t stream) {
  launch<float>(m, n, k, w, x, y, stream);
}
void dense_mma_int8(int m, int n, int k, const void* w, const void* x, void* y, cudaStream_t stream) {
  launch<int32_t>(m, n, k / 2, w, x, y, stream);
}

}  // namespace prune::bench
