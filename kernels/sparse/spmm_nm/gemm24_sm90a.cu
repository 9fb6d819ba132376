#include <algorithm>

#include "kernels/sparse/cuda/ptx.h"
#include "kernels/sparse/cuda/wgmma.h"
#include "kernels/sparse/spmm_nm/gemm24.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kTileRows = 128;
constexpr int kRowTiles = kTileRows / kTileRows24;
constexpr int kXCols = 64;  // columns of x in one box: 128 bytes, the width of the swizzle
constexpr int kTile24 = tile_bytes24(Weight24::k16);
constexpr int kWeightBytes = kRowTiles * kTile24;  // 128 rows by 128 columns
constexpr int kWeightSlots = 3;
constexpr int kConsumers = 2;  // warp groups
constexpr int kStoreTokens =
    32;  // tokens of a warp group's sums that leave together: [token][64 rows], 128 bytes a token
constexpr int kStoreBytes = kStoreTokens * 128;
constexpr int kGroupTokenTiles = 8;  // token tiles that neighbours in time work on, for the L2

template <int kTokens>
struct Layout {
  static constexpr int kXBytes = kTokens * kXCols * 2;
  static constexpr int kXSlots = kTokens == 256 ? 4 : 7;
  static constexpr int kX = 0;                           // slots aligned to 1024 bytes, as the swizzle wants
  static constexpr int kStore = kX + kXSlots * kXBytes;  // two buffers a warp group
  static constexpr int kWeights = kStore + kConsumers * 2 * kStoreBytes;
  static constexpr int kBarriers = kWeights + kWeightSlots * kWeightBytes;
  static constexpr int x_full(int slot) { return kBarriers + 8 * slot; }
  static constexpr int x_empty(int slot) { return x_full(kXSlots) + 8 * slot; }
  static constexpr int weights_full(int slot) { return x_empty(kXSlots) + 8 * slot; }
  static constexpr int weights_empty(int slot) { return weights_full(kWeightSlots) + 8 * slot; }
  static constexpr int kBytes = kBarriers + 16 * (kXSlots + kWeightSlots);
};

struct Arguments {
  const uint8_t* stream;
  int cols;
  int tiles_k;     // column tiles of the stream, 128 columns each
  int row_tiles;   // row tiles of the stream, 32 rows each
  int row_blocks;  // clusters' worth of rows
  int token_tiles;
  int clusters;
};

// A place in a ring of slots.
template <int kSlots>
struct RingPlace {
  int slot = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++slot == kSlots) slot = 0, parity ^= 1;
  }
};

// The order of the output tiles: bands of kGroupTokenTiles token tiles, and in a band row block after row
// block.
struct OutputTile {
  int row_block;
  int token_tile;
  __device__ OutputTile(const Arguments& args, int index) {
    const int band = index / (kGroupTokenTiles * args.row_blocks),
              in_band = index - band * kGroupTokenTiles * args.row_blocks;
    const int width = min(kGroupTokenTiles, args.token_tiles - band * kGroupTokenTiles);
    row_block = in_band / width;
    token_tile = band * kGroupTokenTiles + in_band % width;
  }
};

template <int kTokens, int kCluster>
__device__ void produce(const Arguments& args, const CUtensorMap* x_map, uint32_t shared) {
  using L = Layout<kTokens>;
  const int rank = int(ptx::cluster_rank());
  RingPlace<L::kXSlots> x;
  RingPlace<kWeightSlots> w;
  for (int index = int(blockIdx.x) / kCluster; index < args.row_blocks * args.token_tiles;
       index += args.clusters) {
    const OutputTile tile(args, index);
    const int first_row_tile = (tile.row_block * kCluster + rank) * kRowTiles;
    for (int k = 0; k < args.tiles_k; ++k) {
      const uint32_t w_full = shared + L::weights_full(w.slot),
                     w_to = shared + L::kWeights + w.slot * kWeightBytes;
      ptx::barrier_wait(shared + L::weights_empty(w.slot), w.parity ^ 1);
      ptx::barrier_expect(w_full, kWeightBytes);
      for (int i = 0; i < kRowTiles; ++i) {  // rows past the end: any, they are not stored
        const int64_t row_tile = min(first_row_tile + i, args.row_tiles - 1);
        ptx::copy_bulk(w_to + i * kTile24, args.stream + (row_tile * args.tiles_k + k) * kTile24, kTile24,
                       w_full);
      }
      w.advance();
      for (int half = 0; half < 2; ++half) {
        const uint32_t full = shared + L::x_full(x.slot), to = shared + L::kX + x.slot * L::kXBytes;
        ptx::barrier_wait(shared + L::x_empty(x.slot), x.parity ^ 1);
        ptx::barrier_expect(full, L::kXBytes);
        const int col = k * kTileCols24 + half * kXCols, rows = kTokens / kCluster;
        if constexpr (kCluster == 1) {
          ptx::copy_box(to, x_map, col, tile.token_tile * kTokens, full);
        } else {
          ptx::copy_box_multicast(to + rank * rows * 128, x_map, col, tile.token_tile * kTokens + rank * rows,
                                  full, uint16_t((1 << kCluster) - 1));
        }
        x.advance();
      }
    }
  }
}

// What one warp takes from a 128 x 128 piece of weights: its 16 rows, four steps of 32 columns.
struct WarpWeights {
  uint32_t a[4][4];
  uint32_t metadata[4];

  __device__ void load(uint32_t piece, int warp, int lane) {
    const uint32_t tile = piece + (warp >> 1) * kTile24;
    const int m = warp & 1;
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const uint4 v = ptx::load_shared_16(tile + (4 * m + s) * 512 + lane * 16);
      a[s][0] = v.x, a[s][1] = v.y, a[s][2] = v.z, a[s][3] = v.w;
    }
    // Lanes 0 and 1 of a quad supply the metadata; the stream keeps that of odd warps at lanes 2 and 3.
    const uint4 e = ptx::load_shared_16(tile + 4096 + ((lane & ~3) + 2 * m + (lane & 1)) * 16);
    metadata[0] = e.x, metadata[1] = e.y, metadata[2] = e.z, metadata[3] = e.w;
  }
};

template <class T>
__device__ inline uint32_t pack(float low, float high) {
  if constexpr (__is_same(T, __half)) {
    const __half2 v = __floats2half2_rn(low, high);
    return reinterpret_cast<const uint32_t&>(v);
  } else {
    const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(v);
  }
}

// A warp group's 64 rows by kTokens tokens to y, kStoreTokens at a time through two buffers; stores run on
// behind.
template <class T, int kTokens>
__device__ void store_sums(const float (&sums)[kTokens / 2], const CUtensorMap* y_map, uint32_t buffers,
                           int group, int row, int token, int warp, int lane) {
#pragma unroll
  for (int piece = 0; piece < kTokens / kStoreTokens; ++piece) {
    const uint32_t buffer = buffers + (piece & 1) * kStoreBytes;
    if (warp == 0 && lane == 0) ptx::store_wait_read<1>();
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
#pragma unroll
    for (int j = 0; j < kStoreTokens / 8; j += 2) {
      const float* d = sums + (piece * kStoreTokens / 8 + j) * 4;
      const int at = 8 * (j + (lane >> 4)) + (lane & 7), chunk = 2 * warp + (lane >> 3 & 1);
      ptx::store_matrix_x4_transposed(buffer + at * 128 + ((chunk ^ (at & 7)) << 4), pack<T>(d[0], d[1]),
                                      pack<T>(d[2], d[3]), pack<T>(d[4], d[5]), pack<T>(d[6], d[7]));
    }
    ptx::fence_async_shared();
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
    if (warp == 0 && lane == 0) {
      ptx::store_box(y_map, row, token + piece * kStoreTokens, buffer);
      ptx::store_commit();
    }
  }
}

template <class T, int kTokens, int kCluster>
__device__ void consume(const Arguments& args, const CUtensorMap* y_map, uint32_t shared, int group) {
  using L = Layout<kTokens>;
  const int warp = int(threadIdx.x) / 32 & 3, lane = threadIdx.x & 31, rank = int(ptx::cluster_rank());
  RingPlace<L::kXSlots> x;
  RingPlace<kWeightSlots> w;
  float sums[kTokens / 2];
  const int outputs = args.row_blocks * args.token_tiles, start = int(blockIdx.x) / kCluster;
  // Nobody waits for the last uses of the slots of x, and their block may be gone: no word of those.
  int uses_left = (outputs - start + args.clusters - 1) / args.clusters * args.tiles_k * 2;
  for (int index = start; index < outputs; index += args.clusters) {
    const OutputTile tile(args, index);
    for (int k = 0; k < args.tiles_k; ++k) {
      // Operands in registers may not change while a product runs, so this warp group waits for its products
      // before it loads again; the other warp group's keep the tensor cores busy meanwhile.
      WarpWeights weights;
      ptx::barrier_wait(shared + L::weights_full(w.slot), w.parity);
      weights.load(shared + L::kWeights + w.slot * kWeightBytes + group * 2 * kTile24, warp, lane);
      __syncwarp();
      if (lane == 0) ptx::barrier_arrive(shared + L::weights_empty(w.slot));
      w.advance();
      int slots[2];
      uint64_t b[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        ptx::barrier_wait(shared + L::x_full(x.slot), x.parity);
        slots[half] = x.slot;
        b[half] = ptx::descriptor_128(shared + L::kX + x.slot * L::kXBytes);
        x.advance();
      }
      ptx::wgmma_fence();
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        ptx::wgmma_sparse<T>(sums, weights.a[s], b[s / 2] + (s % 2) * (64 >> 4), weights.metadata[s],
                             k + s > 0);
      }
      ptx::wgmma_commit();
      ptx::wgmma_wait<0>();
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (uses_left-- > L::kXSlots && lane < kCluster) {
          ptx::barrier_arrive_remote(shared + L::x_empty(slots[half]), lane);
        }
      }
    }
    store_sums<T, kTokens>(sums, y_map, shared + L::kStore + group * 2 * kStoreBytes, group,
                           (tile.row_block * kCluster + rank) * kTileRows + group * 64,
                           tile.token_tile * kTokens, warp, lane);
  }
  if (warp == 0 && lane == 0) ptx::store_wait_all();
}

template <class T, int kTokens, int kCluster>
__global__ void __launch_bounds__(128 * (kConsumers + 1), 1)
    gemm24_kernel(const __grid_constant__ Arguments args, const __grid_constant__ CUtensorMap x_map,
                  const __grid_constant__ CUtensorMap y_map) {
  using L = Layout<kTokens>;
  extern __shared__ __align__(1024) uint8_t storage[];
  const uint32_t shared = ptx::shared_address(storage);
  const int group = int(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    for (int i = 0; i < L::kXSlots; ++i) {
      ptx::barrier_init(shared + L::x_full(i), 1);
      ptx::barrier_init(shared + L::x_empty(i), 4 * kConsumers * kCluster);
    }
    for (int i = 0; i < kWeightSlots; ++i) {
      ptx::barrier_init(shared + L::weights_full(i), 1);
      ptx::barrier_init(shared + L::weights_empty(i), 4 * kConsumers);
    }
    ptx::barrier_init_fence();
  }
  __syncthreads();
  ptx::cluster_arrive();
  ptx::cluster_wait();
  if (group == kConsumers) {
    ptx::registers_down<40>();
    if (threadIdx.x == kConsumers * 128) produce<kTokens, kCluster>(args, &x_map, shared);
    __syncwarp();
  } else {
    ptx::registers_up<232>();
    consume<T, kTokens, kCluster>(args, &y_map, shared, group);
    __syncwarp();
  }
  ptx::cluster_arrive();  // no block leaves before its neighbours are done with it
  ptx::cluster_wait();
}

// The driver's encoder of tensor maps, found through the runtime so that no driver library is linked.
using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                            CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
Status find_encoder(Encode* encode) {
  void* symbol = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t code =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol, 12000, cudaEnableDefault, &found);
  if (code != cudaSuccess) return from_cuda(code);
  if (found != cudaDriverEntryPointSuccess) return {Reason::kDevice};
  *encode = reinterpret_cast<Encode>(symbol);
  return {};
}

// A row-major [rows, cols] matrix of 16-bit elements in boxes of 64 columns.
Status make_map(Encode encode, Element element, const void* data, int64_t rows, int64_t cols, int64_t stride,
                int box_rows, CUtensorMap* map) {
  const CUtensorMapDataType type =
      element == Element::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const cuuint64_t size[2] = {cuuint64_t(cols), cuuint64_t(rows)}, strides[1] = {cuuint64_t(stride) * 2};
  const cuuint32_t box[2] = {64, cuuint32_t(box_rows)}, step[2] = {1, 1};
  const CUresult result = encode(map, type, 2, const_cast<void*>(data), size, strides, box, step,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? Status{} : Status{Reason::kShape};
}

template <class T, int kTokens, int kCluster>
Status launch(const Matrix24& matrix, const GemmCall& call) {
  Encode encode = nullptr;
  CUtensorMap x_map, y_map;
  if (const Status s = find_encoder(&encode); !s.ok()) return s;
  const Element element = call.element;
  Status s =
      make_map(encode, element, call.x, call.tokens, matrix.cols, call.x_stride, kTokens / kCluster, &x_map);
  if (s.ok())
    s = make_map(encode, element, call.y, call.tokens, matrix.rows, call.y_stride, kStoreTokens, &y_map);
  if (!s.ok()) return s;

  const auto kernel = gemm24_kernel<T, kTokens, kCluster>;
  constexpr int kBytes = Layout<kTokens>::kBytes;
  cudaError_t code = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (code != cudaSuccess) return from_cuda(code);
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kCluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(kCluster);
  config.blockDim = dim3(128 * (kConsumers + 1));
  config.dynamicSmemBytes = kBytes;
  config.stream = call.stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int fit = 0;
  code = cudaOccupancyMaxActiveClusters(&fit, kernel, &config);
  if (code != cudaSuccess) return from_cuda(code);
  if (fit < 1) return {Reason::kDevice};

  Arguments args;
  args.stream = static_cast<const uint8_t*>(matrix.stream);
  args.cols = matrix.cols;
  args.tiles_k = int(tiles_along24(matrix.cols, kTileCols24));
  args.row_tiles = int(tiles_along24(matrix.rows, kTileRows24));
  args.row_blocks = int(tiles_along24(matrix.rows, kTileRows * kCluster));
  args.token_tiles = int(tiles_along24(call.tokens, kTokens));
  args.clusters = std::min(fit, args.row_blocks * args.token_tiles);
  config.gridDim = dim3(unsigned(args.clusters * kCluster));
  return from_cuda(cudaLaunchKernelEx(&config, kernel, args, x_map, y_map));
}

template <class T>
Status launch(const Matrix24& matrix, const GemmPlan& plan, const GemmCall& call) {
  if (plan.tile_tokens == 256) {
    if (plan.cluster == 1) return launch<T, 256, 1>(matrix, call);
    if (plan.cluster == 2) return launch<T, 256, 2>(matrix, call);
    if (plan.cluster == 4) return launch<T, 256, 4>(matrix, call);
  } else if (plan.tile_tokens == 128) {
    if (plan.cluster == 1) return launch<T, 128, 1>(matrix, call);
    if (plan.cluster == 2) return launch<T, 128, 2>(matrix, call);
    if (plan.cluster == 4) return launch<T, 128, 4>(matrix, call);
  }
  return {Reason::kPlan};
}

bool aligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace

// As measured on an H200.
GemmPlan plan_gemm24(int rows, int tokens) {
  GemmPlan plan;
  plan.tile_tokens = tokens <= 128 ? 128 : 256;
  plan.cluster = rows > kTileRows ? 2 : 1;
  return plan;
}

Status gemm24(const Matrix24& matrix, const GemmPlan& plan, const GemmCall& call) {
  if (matrix.weight != Weight24::k16 || matrix.rows < 8 || matrix.rows % 8 != 0 || matrix.cols < 64 ||
      matrix.cols % 64 != 0) {
    return {Reason::kShape};
  }
  if (call.tokens < 1 || call.x_stride < matrix.cols || call.y_stride < matrix.rows) return {Reason::kShape};
  if (!aligned16(matrix.stream) || !aligned16(call.x) || !aligned16(call.y) || call.x_stride % 8 != 0 ||
      call.y_stride % 8 != 0) {
    return {Reason::kAlignment};
  }
  return call.element == Element::kF16 ? launch<__half>(matrix, plan, call)
                                       : launch<__nv_bfloat16>(matrix, plan, call);
}

}  // namespace prune::kernels::cuda
