// 2:4 products of many tokens through mma.sp: for every device from compute capability 8.0 on.
//
// A block of four warps owns 128 rows by 128 (or 64) tokens, a warp 64 rows by half of the tokens. Weights (a
// stream's tiles, frag24.h) and x come a tile's columns at a time by asynchronous copies into two stages: one
// is multiplied while the other fills. Rows of x are swizzled in pieces of 16 bytes, so that ldmatrix meets
// no bank twice. Sums leave through shared memory, where a token's rows are put side by side. 16-bit and
// 8-bit operands differ in nothing but the instruction and its metadata.
#include <algorithm>

#include "kernels/sparse/cuda/ptx.h"
#include "kernels/sparse/spmm_nm/gemm24_call.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kRows = 128;
constexpr int kRowTiles = kRows / kTileRows24;
constexpr int kThreads = 128;
constexpr int kXRowBytes = 256;  // of a tile's columns
constexpr int kStages = 2;
constexpr int kOutRow = kRows + 4;  // a token's sums on their way out; the gap spreads them over the banks
constexpr int kBandTokenTiles = 8;  // token tiles that neighbours in time work on, for the L2

// By the type of x.
template <class T>
constexpr Weight24 kWeight = sizeof(T) == 1 ? Weight24::kInt8x8 : Weight24::k16;
template <class T>
constexpr int kTileBytes = tile_bytes24(kWeight<T>);
template <class T>
constexpr int kWeightBytes = kRowTiles* kTileBytes<T>;
template <class T, int kTokens>
constexpr int kStageBytes = kWeightBytes<T> + kTokens* kXRowBytes;
template <class T, int kTokens>
constexpr int kSharedBytes = std::max(kStages* kStageBytes<T, kTokens>, kTokens* kOutRow * 4);

struct Arguments {
  const uint8_t* stream;
  const void* x;
  int64_t x_stride;
  Finish finish;
  bool plain;  // nothing but row scales on the way to a y of 16 bits
  int cols;
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

template <class T, int kTokens>
__device__ void fetch_stage(const Arguments& args, uint32_t stage, int row_tile0, int token0, int k) {
  // Rows past the end: any, they are not stored.
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
    const int64_t row_tile = min(row_tile0 + i, args.row_tiles - 1);
    const uint8_t* tile = args.stream + (row_tile * args.tiles_k + k) * kTileBytes<T>;
    for (int at = int(threadIdx.x) * 16; at < kTileBytes<T>; at += kThreads * 16)
      copy_16(stage + i * kTileBytes<T> + at, tile + at, true);
  }
  constexpr int kChunks = kXRowBytes / 16;
  const int chunk = int(threadIdx.x) % kChunks,
            col = k * tile_cols24(kWeight<T>) + chunk * (16 / int(sizeof(T)));
#pragma unroll
  for (int n = int(threadIdx.x) / kChunks; n < kTokens; n += kThreads / kChunks) {
    const bool there = token0 + n < args.finish.tokens && col < args.cols;
    const T* from = static_cast<const T*>(args.x) + (there ? (token0 + n) * args.x_stride + col : 0);
    copy_16(stage + kWeightBytes<T> + n * kXRowBytes + ((chunk ^ (n & 7)) << 4), from, there);
  }
  copies_commit();
}

// Sums of a warp: 64 rows by 8 * kBlocks tokens, [16 rows][8 tokens][c] as mma.sp has them.
template <class T, int kBlocks>
using WarpSums = std::conditional_t<sizeof(T) == 1, int32_t, float>[4][kBlocks][4];

// The metadata of a warp's two row tiles, as lanes load it, and the product of 16 rows by a step.
template <class T>
struct Metadata {
  uint32_t word[2][4];  // [row tile][step]

  __device__ void load(uint32_t tiles, int lane) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      take(word[i], ptx::load_shared_16(tiles + i * kTileBytes<T> + value_bytes24(kWeight<T>) + lane * 16));
  }
  template <int m>
  __device__ void multiply(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&tokens)[4],
                           int step) const {
    ptx::mma_sparse_16x8x32<T, (m & 1)>(sums, a, tokens, word[m >> 1][step]);
  }
  __device__ static void take(uint32_t (&to)[4], const uint4& v) {
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  }
};
template <>
struct Metadata<int8_t> {
  uint32_t word[4][4];  // [16 rows][step]

  __device__ void load(uint32_t tiles, int lane) {
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      Metadata<__half>::take(
          word[m], ptx::load_shared_16(tiles + (m >> 1) * kTileBytes<int8_t> +
                                       value_bytes24(Weight24::kInt8x8) + (m & 1) * 512 + lane * 16));
    }
  }
  template <int m>
  __device__ void multiply(int32_t (&sums)[4], const uint32_t (&a)[4], const uint32_t (&tokens)[4],
                           int step) const {
    ptx::mma_sparse_16x8x64(sums, a, tokens, word[m][step]);
  }
};

// sums += a stage's product. `tiles`: this warp's two row tiles; `x`: its first token's row.
template <class T, int kBlocks>
__device__ inline void multiply_stage(WarpSums<T, kBlocks>& sums, uint32_t tiles, uint32_t x, int lane) {
  Metadata<T> metadata;
  metadata.load(tiles, lane);
  const int token = lane & 7;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t a[4][4];
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const uint4 v =
          ptx::load_shared_16(tiles + (m >> 1) * kTileBytes<T> + (4 * (m & 1) + s) * 512 + lane * 16);
      a[m][0] = v.x, a[m][1] = v.y, a[m][2] = v.z, a[m][3] = v.w;
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      uint32_t tokens[4];
      ptx::load_matrix_x4(tokens, x + (8 * b + token) * kXRowBytes + (((4 * s + (lane >> 3)) ^ token) << 4));
      metadata.template multiply<0>(sums[0][b], a[0], tokens, s);
      metadata.template multiply<1>(sums[1][b], a[1], tokens, s);
      metadata.template multiply<2>(sums[2][b], a[2], tokens, s);
      metadata.template multiply<3>(sums[3][b], a[3], tokens, s);
    }
  }
}

// A warp's sums to shared memory as [token][kRow of Y], times the scales of their rows where there are some.
template <class Y, int kRow, class T, int kBlocks>
__device__ inline void stage_sums(const float* row_scales, int rows_left, const WarpSums<T, kBlocks>& sums,
                                  Y* to, int lane) {
#pragma unroll
  for (int m = 0; m < 4; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = 16 * m + (lane >> 2) + 8 * half;
      const float scale = row_scales && r < rows_left ? row_scales[r] : 1;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int c = 0; c < 2; ++c)
          to[(8 * b + 2 * (lane & 3) + c) * kRow + r] = Y(float(sums[m][b][2 * half + c]) * scale);
      }
    }
  }
}

// Where a warp's sums begin in their block, and the block in y.
struct WarpPlace {
  int row0;
  int token0;
  int row;
  int token;
};

// To a y of type Y, by row scales at most.
template <class Y, class T, int kTokens>
__device__ void store_plain(const Finish& finish, const WarpSums<T, kTokens / 16>& sums, Y* storage,
                            const WarpPlace& place, int lane) {
  constexpr int kRow = kRows + 8;  // the gap spreads tokens over the banks
  const int row = place.row0 + place.row;
  stage_sums<Y, kRow, T>(finish.row_scales ? finish.row_scales + row : nullptr, finish.rows - row, sums,
                         storage + place.token * kRow + place.row, lane);
  __syncthreads();
  for (int i = int(threadIdx.x); i < kTokens * (kRows / 8); i += kThreads) {
    const int n = i / (kRows / 8), r = i % (kRows / 8) * 8;
    if (place.token0 + n < finish.tokens && place.row0 + r < finish.rows) {
      *reinterpret_cast<uint4*>(static_cast<Y*>(finish.y) + (place.token0 + n) * finish.y_stride +
                                place.row0 + r) = *reinterpret_cast<const uint4*>(storage + n * kRow + r);
    }
  }
}

// With all that the epilogue asks for.
template <class T, int kTokens>
__device__ void store_finished(const Finish& finish, const WarpSums<T, kTokens / 16>& sums, float* storage,
                               const WarpPlace& place, int lane) {
  stage_sums<float, kOutRow, T>(nullptr, 0, sums, storage + place.token * kOutRow + place.row, lane);
  __syncthreads();
  constexpr int kAhead = 4;  // tokens that a warp has in hand
  const int r = lane * 4;
  const FourRows rows(finish, place.row0 + r);
#pragma unroll 1
  for (int first = int(threadIdx.x) / 32; first < kTokens; first += kThreads / 32 * kAhead) {
    FourRows::Operands operands[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) operands[i] = rows.fetch(place.token0 + first + i * (kThreads / 32));
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int n = first + i * (kThreads / 32);
      float v[4];
      load_4(storage + n * kOutRow + r, v);
      rows.store(v, place.token0 + n, operands[i]);
    }
  }
}

template <class T, int kTokens>
__device__ inline void store_sums(const Arguments& args, const WarpSums<T, kTokens / 16>& sums,
                                  uint8_t* storage, const WarpPlace& place, int lane) {
  __syncthreads();  // the stages are read
  if (!args.plain) {
    store_finished<T, kTokens>(args.finish, sums, reinterpret_cast<float*>(storage), place, lane);
  } else if (sizeof(T) == 2 ? __is_same(T, __half) : args.finish.half) {
    store_plain<__half, T, kTokens>(args.finish, sums, reinterpret_cast<__half*>(storage), place, lane);
  } else {
    store_plain<__nv_bfloat16, T, kTokens>(args.finish, sums, reinterpret_cast<__nv_bfloat16*>(storage),
                                           place, lane);
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

  WarpSums<T, kTokens / 16> sums = {};
  fetch_stage<T, kTokens>(args, shared, row0 / kTileRows24, token0, 0);
  for (int k = 0; k < args.tiles_k; ++k) {
    copies_wait<0>();
    __syncthreads();  // this stage is here, and everyone has read the other
    if (k + 1 < args.tiles_k)
      fetch_stage<T, kTokens>(args, shared + ((k + 1) & 1) * kStageBytes<T, kTokens>, row0 / kTileRows24,
                              token0, k + 1);
    const uint32_t stage = shared + (k & 1) * kStageBytes<T, kTokens>;
    multiply_stage<T, kTokens / 16>(sums, stage + warp_row / kTileRows24 * kTileBytes<T>,
                                    stage + kWeightBytes<T> + warp_token * kXRowBytes, lane);
  }
  store_sums<T, kTokens>(args, sums, storage, {row0, token0, warp_row, warp_token}, lane);
}

template <class T, int kTokens>
Status launch(Arguments args, cudaStream_t stream) {
  args.token_tiles = int(tiles_along24(args.finish.tokens, kTokens));
  constexpr int kBytes = kSharedBytes<T, kTokens>;
  const auto kernel = gemm24_mma<T, kTokens>;
  const cudaError_t code = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (code != cudaSuccess) return from_cuda(code);
  kernel<<<unsigned(args.row_blocks) * unsigned(args.token_tiles), kThreads, kBytes, stream>>>(args);
  return from_cuda(cudaGetLastError());
}

template <class T>
Status launch_for(int tile_tokens, const Arguments& args, cudaStream_t stream) {
  if (tile_tokens == 128) return launch<T, 128>(args, stream);
  if (tile_tokens == 64) return launch<T, 64>(args, stream);
  return {Reason::kPlan};
}

}  // namespace

Status gemm24_mma(const Matrix24& matrix, int tile_tokens, const ProductCall& call,
                  const Epilogue& epilogue) {
  if (matrix.weight != Weight24::k16 && matrix.weight != Weight24::kInt8x8) return {Reason::kShape};
  if (const Status s = check_gemm24(matrix, call, epilogue); !s.ok()) return s;
  Arguments args{};
  args.stream = static_cast<const uint8_t*>(matrix.stream);
  args.x = call.x;
  args.x_stride = call.x_stride;
  args.finish = finish_of(matrix, call, epilogue);
  args.plain = epilogue.plain();
  args.cols = matrix.cols;
  args.tiles_k = int(tiles_along24(matrix.cols, tile_cols24(matrix.weight)));
  args.row_tiles = int(tiles_along24(matrix.rows, kTileRows24));
  args.row_blocks = int(tiles_along24(matrix.rows, kRows));
  if (matrix.weight == Weight24::kInt8x8) return launch_for<int8_t>(tile_tokens, args, call.stream);
  return call.element == Element::kF16 ? launch_for<__half>(tile_tokens, args, call.stream)
                                       : launch_for<__nv_bfloat16>(tile_tokens, args, call.stream);
}

}  // namespace prune::kernels::cuda
