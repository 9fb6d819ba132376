// 2:4 products of many tokens through mma.sp: for every device from compute capability 8.0 on.
//
// A block of four warps owns 128 rows by 128 (or 64) tokens, a warp 64 rows by half of the tokens. Weights (a
// stream's tiles, frag24.h) and x come 128 columns at a time by asynchronous copies into two stages: one is
// multiplied while the other fills. Rows of x are swizzled in pieces of 16 bytes, so that ldmatrix meets no
// bank twice. Sums leave through shared memory, where a token's rows are put side by side.
#include <algorithm>

#include "kernels/sparse/spmm_nm/decode24_compute.h"
#include "kernels/sparse/spmm_nm/gemm24.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kRows = 128;
constexpr int kRowTiles = kRows / kTileRows24;
constexpr int kThreads = 128;
constexpr int kTileBytes = tile_bytes24(Weight24::k16);
constexpr int kWeightBytes = kRowTiles * kTileBytes;
constexpr int kXRowBytes = kTileCols24 * 2;
constexpr int kStages = 2;
constexpr int kOutRowBytes =
    kRows * 2 + 16;                 // a token's sums on their way out; the gap spreads them over the banks
constexpr int kBandTokenTiles = 8;  // token tiles that neighbours in time work on, for the L2

template <int kTokens>
constexpr int stage_bytes() {
  return kWeightBytes + kTokens * kXRowBytes;
}
template <int kTokens>
constexpr int shared_bytes() {
  return std::max(kStages * stage_bytes<kTokens>(), kTokens * kOutRowBytes);
}

struct Arguments {
  const uint8_t* stream;
  const uint16_t* x;
  uint16_t* y;
  int64_t x_stride;
  int64_t y_stride;
  int rows;
  int cols;
  int tokens;
  int tiles_k;
  int row_tiles;
  int row_blocks;
  int token_tiles;
};

// 16 bytes to shared memory, or zeros.
__device__ inline void copy_16(uint32_t to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0)
               : "memory");
}
__device__ inline void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
__device__ inline void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

template <int kTokens>
__device__ void fetch_stage(const Arguments& args, uint32_t stage, int row_tile0, int token0, int k) {
  // Rows past the end: any, they are not stored.
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
    const int64_t row_tile = min(row_tile0 + i, args.row_tiles - 1);
    const uint8_t* tile = args.stream + (row_tile * args.tiles_k + k) * kTileBytes;
    for (int at = int(threadIdx.x) * 16; at < kTileBytes; at += kThreads * 16)
      copy_16(stage + i * kTileBytes + at, tile + at, true);
  }
  constexpr int kChunks = kXRowBytes / 16;
  const int chunk = int(threadIdx.x) % kChunks, col = k * kTileCols24 + chunk * 8;
#pragma unroll
  for (int n = int(threadIdx.x) / kChunks; n < kTokens; n += kThreads / kChunks) {
    const bool there = token0 + n < args.tokens && col < args.cols;
    const uint16_t* from = args.x + (there ? (token0 + n) * args.x_stride + col : 0);
    copy_16(stage + kWeightBytes + n * kXRowBytes + ((chunk ^ (n & 7)) << 4), from, there);
  }
  copies_commit();
}

// Sums of a warp: 64 rows by 8 * kBlocks tokens, [16 rows][8 tokens][c] as mma.sp has them.
template <int kBlocks>
using WarpSums = float[4][kBlocks][4];

// sums += a stage's product. `tiles`: this warp's two row tiles; `x`: its first token's row.
template <class T, int kBlocks>
__device__ inline void multiply_stage(WarpSums<kBlocks>& sums, uint32_t tiles, uint32_t x, int lane) {
  uint32_t metadata[2][4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4 e = ptx::load_shared_16(tiles + i * kTileBytes + value_bytes24(Weight24::k16) + lane * 16);
    metadata[i][0] = e.x, metadata[i][1] = e.y, metadata[i][2] = e.z, metadata[i][3] = e.w;
  }
  const int token = lane & 7;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t a[4][4];
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const uint4 v =
          ptx::load_shared_16(tiles + (m >> 1) * kTileBytes + (4 * (m & 1) + s) * 512 + lane * 16);
      a[m][0] = v.x, a[m][1] = v.y, a[m][2] = v.z, a[m][3] = v.w;
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      uint32_t tokens[4];
      ptx::load_matrix_x4(tokens, x + (8 * b + token) * kXRowBytes + (((4 * s + (lane >> 3)) ^ token) << 4));
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        ptx::mma_sparse_16x8x32<T, 0>(sums[2 * i][b], a[2 * i], tokens, metadata[i][s]);
        ptx::mma_sparse_16x8x32<T, 1>(sums[2 * i + 1][b], a[2 * i + 1], tokens, metadata[i][s]);
      }
    }
  }
}

template <class T, int kTokens>
__device__ void store_sums(const Arguments& args, const WarpSums<kTokens / 16>& sums, uint8_t* storage,
                           int row0, int token0, int warp_row, int warp_token, int lane) {
  __syncthreads();  // the stages are read
#pragma unroll
  for (int m = 0; m < 4; ++m) {
#pragma unroll
    for (int b = 0; b < kTokens / 16; ++b) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int n = warp_token + 8 * b + 2 * (lane & 3) + (c & 1),
                  r = warp_row + 16 * m + (lane >> 2) + 8 * (c >> 1);
        *reinterpret_cast<T*>(storage + n * kOutRowBytes + r * 2) = T(sums[m][b][c]);
      }
    }
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < kTokens * (kRows / 8); i += kThreads) {
    const int n = i / (kRows / 8), r = i % (kRows / 8) * 8;
    if (token0 + n < args.tokens && row0 + r < args.rows) {
      *reinterpret_cast<uint4*>(args.y + (token0 + n) * args.y_stride + row0 + r) =
          *reinterpret_cast<const uint4*>(storage + n * kOutRowBytes + r * 2);
    }
  }
}

template <class T, int kTokens>
__global__ void __launch_bounds__(kThreads) gemm24_mma(const Arguments args) {
  extern __shared__ __align__(128) uint8_t storage[];
  const uint32_t shared = ptx::shared_address(storage);
  const int warp = int(threadIdx.x) / 32, lane = threadIdx.x & 31;
  const int warp_row = (warp & 1) * 64, warp_token = (warp >> 1) * (kTokens / 2);
  // Bands of token tiles, and in a band row block after row block.
  const int band = int(blockIdx.x) / (kBandTokenTiles * args.row_blocks),
            in_band = int(blockIdx.x) - band * kBandTokenTiles * args.row_blocks;
  const int width = min(kBandTokenTiles, args.token_tiles - band * kBandTokenTiles);
  const int row0 = in_band / width * kRows, token0 = (band * kBandTokenTiles + in_band % width) * kTokens;

  WarpSums<kTokens / 16> sums = {};
  fetch_stage<kTokens>(args, shared, row0 / kTileRows24, token0, 0);
  for (int k = 0; k < args.tiles_k; ++k) {
    copies_wait<0>();
    __syncthreads();  // this stage is here, and everyone has read the other
    if (k + 1 < args.tiles_k)
      fetch_stage<kTokens>(args, shared + ((k + 1) & 1) * stage_bytes<kTokens>(), row0 / kTileRows24, token0,
                           k + 1);
    const uint32_t stage = shared + (k & 1) * stage_bytes<kTokens>();
    multiply_stage<T, kTokens / 16>(sums, stage + warp_row / kTileRows24 * kTileBytes,
                                    stage + kWeightBytes + warp_token * kXRowBytes, lane);
  }
  store_sums<T, kTokens>(args, sums, storage, row0, token0, warp_row, warp_token, lane);
}

template <class T, int kTokens>
Status launch(Arguments args, cudaStream_t stream) {
  args.token_tiles = int(tiles_along24(args.tokens, kTokens));
  constexpr int kBytes = shared_bytes<kTokens>();
  const auto kernel = gemm24_mma<T, kTokens>;
  const cudaError_t code = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (code != cudaSuccess) return from_cuda(code);
  kernel<<<unsigned(args.row_blocks) * unsigned(args.token_tiles), kThreads, kBytes, stream>>>(args);
  return from_cuda(cudaGetLastError());
}

}  // namespace

Status gemm24_mma(const Matrix24& matrix, int tile_tokens, const ProductCall& call) {
  if (matrix.weight != Weight24::k16 || matrix.rows < 8 || matrix.rows % 8 != 0 || matrix.cols < 64 ||
      matrix.cols % 64 != 0 || call.tokens < 1 || call.x_stride < matrix.cols ||
      call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (!aligned16(matrix.stream) || !aligned16(call.x) || !aligned16(call.y) || call.x_stride % 8 != 0 ||
      call.y_stride % 8 != 0) {
    return {Reason::kAlignment};
  }
  Arguments args{};
  args.stream = static_cast<const uint8_t*>(matrix.stream);
  args.x = static_cast<const uint16_t*>(call.x);
  args.y = static_cast<uint16_t*>(call.y);
  args.x_stride = call.x_stride;
  args.y_stride = call.y_stride;
  args.rows = matrix.rows;
  args.cols = matrix.cols;
  args.tokens = call.tokens;
  args.tiles_k = int(tiles_along24(matrix.cols, kTileCols24));
  args.row_tiles = int(tiles_along24(matrix.rows, kTileRows24));
  args.row_blocks = int(tiles_along24(matrix.rows, kRows));
  const bool half = call.element == Element::kF16;
  if (tile_tokens == 128)
    return half ? launch<__half, 128>(args, call.stream) : launch<__nv_bfloat16, 128>(args, call.stream);
  if (tile_tokens == 64)
    return half ? launch<__half, 64>(args, call.stream) : launch<__nv_bfloat16, 64>(args, call.stream);
  return {Reason::kPlan};
}

}  // namespace prune::kernels::cuda
