// 2:4 decode for Hopper: bulk copies into rings that belong to single warps, sums that meet through the
// cluster.
//
// No barrier of the whole block stands in the loop: a warp fetches, waits for and multiplies its own tiles,
// so the memory system always has (warps x depth) tiles outstanding. A producer warp brings x, panel by
// panel. Sums of the warps that share rows are exchanged through shared memory in pieces of 16 tokens, with
// two buffers, so that one mbarrier round a piece is enough.
#include <algorithm>
#include <atomic>

#include "kernels/sparse/spmm_nm/decode24.h"
#include "kernels/sparse/spmm_nm/decode24_compute.h"
#include "kernels/sparse/spmm_nm/decode24_layout.h"

namespace prune::kernels::cuda {
namespace {

struct Arguments {
  const uint8_t* stream;
  const void* x;
  void* y;
  const float* row_scales;
  int64_t x_stride;
  int64_t y_stride;
  int rows;
  int cols;
  int tokens;
  DecodePlan plan;
};

// Where a block stands in the grid, and its share of the columns.
struct Place {
  int rank;       // in the cluster
  int size;       // of the cluster
  int cluster;    // of the grid
  int tiles_k;    // column tiles of the matrix
  int first;      // this block's first column tile
  int count;      // and how many it has
  int row_tiles;  // of the matrix
  int rounds;     // row groups that each cluster walks over

  __device__ explicit Place(const Arguments& args)
      : rank(int(ptx::cluster_rank())),
        size(int(ptx::cluster_size())),
        cluster(int(blockIdx.x) / size),
        tiles_k((args.cols + kTileCols24 - 1) / kTileCols24),
        row_tiles((args.rows + kTileRows24 - 1) / kTileRows24) {
    first = tiles_k * rank / size;
    count = tiles_k * (rank + 1) / size - first;
    const int group = args.plan.clusters * args.plan.row_warps;
    rounds = (row_tiles + group - 1) / group;
  }
  __device__ int row_tile(const DecodePlan& plan, int round, int row_warp) const {
    return (round * plan.clusters + cluster) * plan.row_warps + row_warp;
  }
};

// The order in which a warp takes its tiles: rounds of rows, and in each the column tiles col_warp, col_warp
// + col_warps, ... One lane walks it, between two multiplications: so only additions.
template <Weight24 kWeight>
class TileWalk {
 public:
  __device__ TileWalk(const Arguments& args, const Place& place, int row_warp, int col_warp) {
    const DecodePlan& plan = args.plan;
    const int row_tile = place.row_tile(plan, 0, row_warp), row_step = plan.clusters * plan.row_warps;
    per_round_ = (place.count - col_warp + plan.col_warps - 1) / plan.col_warps;
    left_in_round_ = per_round_;
    left_ = row_tile >= place.row_tiles
                ? 0
                : per_round_ * ((place.row_tiles - row_tile + row_step - 1) / row_step);
    step_ = plan.col_warps * tile_bytes24(kWeight);
    round_jump_ = (int64_t(row_step) * place.tiles_k - int64_t(per_round_ - 1) * plan.col_warps) *
                  tile_bytes24(kWeight);
    address_ =
        args.stream + (int64_t(row_tile) * place.tiles_k + place.first + col_warp) * tile_bytes24(kWeight);
  }
  __device__ bool done() const { return left_ == 0; }
  // The next tile; not when done().
  __device__ const uint8_t* take() {
    const uint8_t* address = address_;
    --left_;
    if (--left_in_round_ == 0) {
      left_in_round_ = per_round_;
      address_ += round_jump_;
    } else {
      address_ += step_;
    }
    return address;
  }

 private:
  const uint8_t* address_;
  int64_t round_jump_;
  int step_;
  int per_round_;
  int left_in_round_;
  int left_;
};

// The warp that brings x: rows of `tokens` panels, each row of a panel one bulk copy.
template <class T>
__device__ void bring_x(const Arguments& args, const Place& place, const DecodeLayout& layout,
                        uint32_t shared, int lane) {
  const DecodePlan& plan = args.plan;
  const int panels = (place.count + plan.panel_tiles - 1) / plan.panel_tiles;
  const bool resident = panels <= plan.panels;
  const int passes = resident ? 1 : place.rounds;
  const T* x = static_cast<const T*>(args.x);
  ptx::wait_for_prerequisites();
  for (int i = 0; i < passes * panels; ++i) {
    const int slot = i % plan.panels, use = i / plan.panels;
    const uint32_t full = shared + layout.panel_full(slot);
    if (use > 0) ptx::barrier_wait(shared + layout.panel_empty(slot), (use - 1) & 1);
    const int64_t col = int64_t(place.first + i % panels * plan.panel_tiles) * kTileCols24;
    const int64_t slice_end = min(int64_t(place.first + place.count) * kTileCols24, int64_t(args.cols));
    const uint32_t bytes =
        uint32_t(min(int64_t(plan.panel_tiles) * kTileCols24, slice_end - col)) * sizeof(T);
    if (lane == 0) ptx::barrier_expect(full, bytes * args.tokens);
    __syncwarp();
    for (int n = lane; n < args.tokens; n += 32) {
      ptx::copy_bulk(shared + layout.panel(slot) + n * layout.x_row_bytes, x + n * args.x_stride + col, bytes,
                     full);
    }
  }
}

// Four sums of a lane (Sums' order) to y.
template <class T>
__device__ inline void store_sums(const Arguments& args, const float (&sum)[4], int row, int token) {
  T* y = static_cast<T*>(args.y);
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const int r = row + 8 * (c >> 1), n = token + (c & 1);
    if (r < args.rows && n < args.tokens)
      y[n * args.y_stride + r] = T(args.row_scales ? args.row_scales[r] * sum[c] : sum[c]);
  }
}

// y <- the sums of all warps and blocks that share rows, for one piece of the tokens. Every block of the
// cluster takes its part of the outputs and reads the partial sums of the others where they lie.
template <class T, int kPiece>
__device__ void combine_piece(const Arguments& args, const Place& place, uint32_t buffer, int round,
                              int first_block, int thread, int threads) {
  const DecodePlan& plan = args.plan;
  const int units = plan.row_warps * 2 * kPiece * 32;
  for (int u = units * place.rank / place.size + thread; u < units * (place.rank + 1) / place.size;
       u += threads) {
    float sum[4] = {};
    for (int block = 0; block < place.size; ++block) {
      for (int k = 0; k < plan.col_warps; ++k) {
        const float4 part = ptx::load_remote(buffer + (k * units + u) * 16, block);
        sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
      }
    }
    const int lane = u & 31, b = (u >> 5) % kPiece, m = (u >> 5) / kPiece & 1, row_warp = u / (64 * kPiece);
    store_sums<T>(args, sum, place.row_tile(plan, round, row_warp) * kTileRows24 + 16 * m + (lane >> 2),
                  (first_block + b) * 8 + 2 * (lane & 3));
  }
}

// One exchange a piece of tokens: lay down, tell all blocks, wait for all, take.
template <class T, int kBlocks>
__device__ void combine(const Arguments& args, const Place& place, const DecodeLayout& layout,
                        uint32_t shared, const Sums<kBlocks>& sums, int round, int warp, int lane,
                        uint32_t& exchanges) {
  constexpr int kPiece = kBlocks < 2 ? 1 : 2;
  const DecodePlan& plan = args.plan;
  const int threads = plan.row_warps * plan.col_warps * 32, row_warp = warp % plan.row_warps,
            col_warp = warp / plan.row_warps;
  if (place.size == 1 && plan.col_warps == 1) {  // nothing to combine
    const int row = place.row_tile(plan, round, row_warp) * kTileRows24 + (lane >> 2);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) store_sums<T>(args, sums[m][b], row + 16 * m, 8 * b + 2 * (lane & 3));
    }
    return;
  }
#pragma unroll
  for (int first = 0; first < kBlocks; first += kPiece) {
    const uint32_t buffer = shared + layout.exchange(exchanges & 1);
    const uint32_t mine = buffer + (col_warp * plan.row_warps + row_warp) * 2 * kPiece * 512 + lane * 16;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int b = 0; b < kPiece; ++b) {
        const float* v = sums[m][first + b];
        asm volatile("st.shared.v4.f32 [%0], {%1,%2,%3,%4};" ::"r"(mine + (m * kPiece + b) * 512), "f"(v[0]),
                     "f"(v[1]), "f"(v[2]), "f"(v[3])
                     : "memory");
      }
    }
    __syncwarp();
    if (lane < place.size) ptx::barrier_arrive_remote(shared + layout.exchanged(), lane);
    ptx::barrier_wait_cluster(shared + layout.exchanged(), exchanges & 1);
    combine_piece<T, kPiece>(args, place, buffer, round, first, warp * 32 + lane, threads);
    ++exchanges;
  }
}

template <Weight24 kWeight, class T, int kBlocks>
__device__ void multiply(const Arguments& args, const Place& place, const DecodeLayout& layout,
                         uint32_t shared, int warp, int lane) {
  const DecodePlan& plan = args.plan;
  const int row_warp = warp % plan.row_warps, col_warp = warp / plan.row_warps;
  const int panels = (place.count + plan.panel_tiles - 1) / plan.panel_tiles;
  const bool resident = panels <= plan.panels;
  const uint32_t ring = shared + layout.ring(warp), ring_full = shared + layout.ring_full(warp);
  // The row of x that this lane names to ldmatrix, for each block of eight tokens. Absent tokens repeat the
  // last: their products land in columns that nobody reads.
  int x_block[kBlocks];
#pragma unroll
  for (int b = 0; b < kBlocks; ++b)
    x_block[b] = min(8 * b + (lane & 7), args.tokens - 1) * layout.x_row_bytes + (lane >> 3) * 16;

  TileWalk<kWeight> fetch(args, place, row_warp, col_warp);
  const uint64_t policy = ptx::policy_evict_first();
  const auto fetch_into = [&](uint32_t slot) {
    if (lane != 0 || fetch.done()) return;
    ptx::barrier_expect(ring_full + 8 * slot, tile_bytes24(kWeight));
    ptx::copy_bulk(ring + slot * tile_bytes24(kWeight), fetch.take(), tile_bytes24(kWeight),
                   ring_full + 8 * slot, policy);
  };
  for (int i = 0; i < plan.depth; ++i) fetch_into(i);
  __syncwarp();
  ptx::cluster_wait();  // the other blocks' barriers are ready for arrivals

  uint32_t slot = 0, phase = 0, exchanges = 0, panel_uses = 0;
  for (int round = 0; round < place.rounds; ++round) {
    const bool active = place.row_tile(plan, round, row_warp) < place.row_tiles;
    Sums<kBlocks> sums = {};
    int tile_k = col_warp;
    for (int panel = 0; panel < panels; ++panel) {
      const uint32_t held = resident ? panel : panel_uses % plan.panels;
      const uint32_t parity = resident ? 0 : panel_uses / plan.panels & 1;
      ++panel_uses;
      ptx::barrier_wait(shared + layout.panel_full(held), parity);
      const uint32_t x = shared + layout.panel(held);
      const int end = min((panel + 1) * plan.panel_tiles, place.count);
      for (; active && tile_k < end; tile_k += plan.col_warps) {
        ptx::barrier_wait(ring_full + 8 * slot, phase);
        LaneTile<kWeight> tile;
        tile.load(ring + slot * tile_bytes24(kWeight), lane);
        __syncwarp();  // all lanes have their words: the slot may be filled again
        fetch_into(slot);
        if (++slot == uint32_t(plan.depth)) slot = 0, phase ^= 1;
        const int left = (args.cols - (place.first + tile_k) * kTileCols24) / 32;
        multiply_tile<kWeight, T, kBlocks>(
            sums, tile, x + (tile_k - panel * plan.panel_tiles) * (kTileCols24 * 2), x_block, left);
      }
      if (!resident) {
        __syncwarp();
        if (lane == 0) ptx::barrier_arrive(shared + layout.panel_empty(held));
      }
    }
    combine<T, kBlocks>(args, place, layout, shared, sums, round, warp, lane, exchanges);
  }
}

template <Weight24 kWeight, class T, int kBlocks>
__global__ void __launch_bounds__(32 * (decode_max_warps(kBlocks) + 1), 1)
    decode24_kernel(const __grid_constant__ Arguments args) {
  extern __shared__ __align__(128) uint8_t storage[];
  const uint32_t shared = ptx::shared_address(storage);
  const DecodeLayout layout(kWeight, args.tokens, args.plan);
  const int warp = threadIdx.x / 32, lane = threadIdx.x & 31,
            warps = args.plan.row_warps * args.plan.col_warps;
  const Place place(args);

  ptx::launch_dependents();
  // Each barrier is initialised by the warp that fills it.
  if (warp < warps) {
    for (int i = lane; i < args.plan.depth; i += 32)
      ptx::barrier_init(shared + layout.ring_full(warp) + 8 * i, 1);
  } else {
    for (int i = lane; i < args.plan.panels; i += 32) {
      ptx::barrier_init(shared + layout.panel_full(i), 1);
      ptx::barrier_init(shared + layout.panel_empty(i), warps);
    }
    if (lane == 0) ptx::barrier_init(shared + layout.exchanged(), warps * place.size);
  }
  ptx::barrier_init_fence();
  __syncthreads();
  ptx::cluster_arrive();
  if (warp < warps) {
    multiply<kWeight, T, kBlocks>(args, place, layout, shared, warp, lane);
  } else {
    ptx::cluster_wait();
    bring_x<T>(args, place, layout, shared, lane);
  }
  __syncwarp();
  ptx::cluster_arrive();  // no block leaves while another still reads its sums
  ptx::cluster_wait();
}

using Kernel = void (*)(Arguments);

template <Weight24 kWeight, class T>
Kernel kernel_for(int blocks) {
  switch (blocks) {
    case 1:
      return decode24_kernel<kWeight, T, 1>;
    case 2:
      return decode24_kernel<kWeight, T, 2>;
    case 4:
      return decode24_kernel<kWeight, T, 4>;
    default:
      return decode24_kernel<kWeight, T, 8>;
  }
}
template <class T>
Kernel kernel_for(Weight24 weight, int blocks) {
  if (weight == Weight24::k16) return kernel_for<Weight24::k16, T>(blocks);
  if (weight == Weight24::kInt8) return kernel_for<Weight24::kInt8, T>(blocks);
  return kernel_for<Weight24::kInt4, T>(blocks);
}

Status launch(Kernel kernel, const Arguments& args, int shared_bytes, const DecodeCall& call) {
  const DecodePlan& plan = args.plan;
  cudaError_t code = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (code != cudaSuccess) return from_cuda(code);
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {unsigned(plan.cluster_size), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(plan.clusters * plan.cluster_size));
  config.blockDim = dim3(unsigned(32 * (plan.row_warps * plan.col_warps + 1)));
  config.dynamicSmemBytes = size_t(shared_bytes);
  config.stream = call.stream;
  config.attrs = attributes;
  config.numAttrs = call.overlap_previous ? 2 : 1;
  return from_cuda(cudaLaunchKernelEx(&config, kernel, args));
}

// A cluster has to fit into one of the device's processor groups, so fewer fit than processors / size.
Status count_clusters(int size, int shared_bytes, int* clusters) {
  const Kernel kernel = decode24_kernel<Weight24::k16, __nv_bfloat16, 1>;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {unsigned(size), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(size));
  config.blockDim = dim3(32 * (decode_max_warps(1) + 1));
  config.dynamicSmemBytes = size_t(shared_bytes);
  config.attrs = &attribute;
  config.numAttrs = 1;
  const cudaError_t code =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (code != cudaSuccess) return from_cuda(code);
  return from_cuda(cudaOccupancyMaxActiveClusters(clusters, kernel, &config));
}

bool aligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace

Status decode_limits(DeviceLimits* limits) {
  int device = 0, major = 0;
  cudaError_t code = cudaGetDevice(&device);
  if (code == cudaSuccess) code = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (code != cudaSuccess) return from_cuda(code);
  if (major != 9) return {Reason::kDevice};
  code = cudaDeviceGetAttribute(&limits->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (code != cudaSuccess) return from_cuda(code);
  for (int i = 0; i < 4; ++i) {
    if (const Status counted = count_clusters(1 << i, limits->shared_bytes, &limits->clusters[i]);
        !counted.ok())
      return counted;
  }
  return {};
}

Status decode24(const Matrix24& matrix, const DecodePlan& plan, const DecodeCall& call) {
  if (matrix.rows < 1 || matrix.cols < 64 || matrix.cols % 64 != 0) return {Reason::kShape};
  if (call.tokens < 1 || call.tokens > kMaxDecodeTokens || call.x_stride < matrix.cols ||
      call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (matrix.weight == Weight24::kInt8 && matrix.row_scales == nullptr) return {Reason::kShape};
  if (!aligned16(matrix.stream) || !aligned16(call.x) || call.x_stride % 8 != 0) return {Reason::kAlignment};
  if (!decode_plan_fits(matrix.cols, call.tokens, plan)) return {Reason::kPlan};
  const Arguments args{static_cast<const uint8_t*>(matrix.stream),
                       call.x,
                       call.y,
                       matrix.weight == Weight24::kInt8 ? matrix.row_scales : nullptr,
                       call.x_stride,
                       call.y_stride,
                       matrix.rows,
                       matrix.cols,
                       call.tokens,
                       plan};
  const int blocks = decode_token_blocks(call.tokens);
  const Kernel kernel = call.element == Element::kF16 ? kernel_for<__half>(matrix.weight, blocks)
                                                      : kernel_for<__nv_bfloat16>(matrix.weight, blocks);
  return launch(kernel, args,
                decode_shared_bytes({matrix.weight, matrix.rows, matrix.cols, call.tokens}, plan), call);
}

}  // namespace prune::kernels::cuda
