// 2:4 decode for Hopper: bulk copies into rings that belong to single warps, sums that meet through the
// cluster.
//
// No barrier of the whole block stands in the loop: a warp fetches, waits for and multiplies its own tiles,
// so the memory system always has (warps x depth) tiles outstanding. A producer warp brings x, panel by
// panel. Sums of the warps that share rows are exchanged through shared memory in pieces of 16 tokens, with
// two buffers, so that one mbarrier round a piece is enough.
#include <algorithm>
#include <atomic>

#include "kernels/sparse/cuda/cluster_launch.h"
#include "kernels/sparse/cuda/launch.h"
#include "kernels/sparse/spmm_nm/decode24.h"
#include "kernels/sparse/spmm_nm/decode24_combine.h"
#include "kernels/sparse/spmm_nm/decode24_ring.h"

namespace prune::kernels::cuda {
namespace {

// A position in the ring of x panels; or, when a block's panels all fit, in the panels themselves, which then
// never change.
class PanelWalk {
 public:
  __device__ PanelWalk(const Arguments& args, const Place& place)
      : slots_(args.plan.panels),
        panels_((place.count + args.plan.panel_tiles - 1) / args.plan.panel_tiles) {}
  __device__ bool resident() const { return panels_ <= slots_; }
  __device__ int panels() const { return panels_; }
  __device__ int slot() const { return slot_; }
  __device__ uint32_t parity() const { return parity_; }
  __device__ void advance() {
    if (++slot_ < (resident() ? panels_ : slots_)) return;
    slot_ = 0;
    parity_ ^= resident() ? 0 : 1;
  }

 private:
  int slots_;
  int panels_;
  int slot_ = 0;
  uint32_t parity_ = 0;
};

// The warp that brings x: each row of a panel is one bulk copy. Blocks that share x bring some of the rows
// each, to all of them.
template <class T>
__device__ void bring_x(const Arguments& args, const Place& place, const DecodeLayout& layout,
                        uint32_t shared, int lane) {
  const DecodePlan& plan = args.plan;
  PanelWalk walk(args, place);
  const int passes = walk.resident() ? 1 : args.geometry.rounds;
  const int end = min((place.first + place.count) * kTileCols24, args.cols);
  const int last_row = args.tokens * (place.share_rank + 1) / plan.share;
  uint16_t sharers = 0;
  for (int share = 0; share < plan.share; ++share) sharers |= uint16_t(1 << place.on_same_columns(share));
  const T* x = static_cast<const T*>(args.x);
  ptx::wait_for_prerequisites();
  bool refill = false;
  for (int pass = 0; pass < passes; ++pass) {
    for (int col = place.first * kTileCols24; col < end; col += plan.panel_tiles * kTileCols24) {
      const uint32_t full = shared + layout.panel_full(walk.slot()),
                     panel = shared + layout.panel(walk.slot());
      if (refill) ptx::barrier_wait(shared + layout.panel_empty(walk.slot()), walk.parity() ^ 1);
      const uint32_t bytes = uint32_t(min(plan.panel_tiles * kTileCols24, end - col)) * sizeof(T);
      if (lane == 0) ptx::barrier_expect(full, bytes * args.tokens);
      __syncwarp();
      for (int n = args.tokens * place.share_rank / plan.share + lane; n < last_row; n += 32) {
        const uint32_t to = panel + n * layout.x_row_bytes;
        const T* from = x + n * args.x_stride + col;
        if (plan.share == 1) {
          ptx::copy_bulk(to, from, bytes, full);
        } else {
          ptx::copy_bulk_multicast(to, from, bytes, full, sharers);
        }
      }
      walk.advance();
      refill |= walk.slot() == 0;
    }
  }
}

template <Weight24 kWeight, class T, int kBlocks>
__device__ void multiply(const Arguments& args, const Place& place, const DecodeLayout& layout,
                         uint8_t* storage, const Role& role, Ring<kWeight>& ring) {
  const DecodePlan& plan = args.plan;
  const int copy = copy_of<kWeight>(plan);
  const uint32_t shared = ptx::shared_address(storage);
  // The row of x that this lane names to ldmatrix, for each block of eight tokens. Absent tokens repeat the
  // last: their products land in columns that nobody reads.
  int x_block[kBlocks];
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    x_block[b] = min(8 * b + (role.lane & 7), args.tokens - 1) * layout.x_row_bytes + (role.lane >> 3) * 16;
  }
  PanelWalk walk(args, place);
  uint32_t exchanges = 0;
  int uses_left = walk.resident() ? 0 : walk.panels() * args.geometry.rounds;
  for (int round = 0; round < args.geometry.rounds; ++round) {
    const bool active = place.row_tile(plan, round, role.row_warp) < args.geometry.row_tiles;
    Sums<kBlocks> sums = {};
    int tile_k = role.col_warp * copy;
    for (int panel = 0; panel < walk.panels(); ++panel) {
      ptx::barrier_wait(shared + layout.panel_full(walk.slot()), walk.parity());
      const uint32_t x = shared + layout.panel(walk.slot());
      const int start = panel * plan.panel_tiles, end = min(start + plan.panel_tiles, place.count);
      for (; active && tile_k < end; tile_k += plan.col_warps * copy) {
        ring.wait();
        int k = tile_k;
        const int last = copy == 1 ? k : min(k + copy, end) - 1;
        do {
          LaneTile<kWeight> tile;
          ring.load(tile, k - tile_k, role.lane);
          if (k == last) ring.hand_back();
          const int steps = (args.cols - (place.first + k) * kTileCols24) / 32;
          multiply_tile<kWeight, T, kBlocks>(sums, tile, x + (k - start) * (kTileCols24 * 2), x_block, steps);
        } while (k++ < last);
      }
      // Nobody waits for the last uses of the panels, and their block may be gone: no word of those.
      if (uses_left-- > plan.panels) {
        const uint32_t empty = shared + layout.panel_empty(walk.slot());  // every lane for its own loads
        if (plan.share == 1) {
          ptx::barrier_arrive(empty);
        } else {
          for (int share = 0; share < plan.share; ++share)
            ptx::barrier_arrive_remote(empty, place.on_same_columns(share));
        }
      }
      walk.advance();
    }
    if (round == 0 && plan.share == 1) {
      __syncwarp();         // lanes may have left the wait for the last panel one by one
      ptx::cluster_wait();  // long over
    }
    combine<T, kBlocks>(args, place, layout, storage, sums, role, round, exchanges);
  }
}

template <Weight24 kWeight, class T, int kBlocks>
__global__ void __launch_bounds__(32 * (decode_max_warps(kWeight, kBlocks) + 1), 1)
    decode24_kernel(const __grid_constant__ Arguments args) {
  extern __shared__ __align__(128) uint8_t storage[];
  const uint32_t shared = ptx::shared_address(storage);
  const DecodeLayout layout(kWeight, args.tokens, args.plan);
  const int warp = __shfl_sync(~0u, int(threadIdx.x) / 32, 0), lane = threadIdx.x & 31;
  const Place place(args);
  const Role role(args, warp, lane);
  const bool multiplies = warp < layout.warps;  // the last warp brings x
  Ring<kWeight> ring(args, place, role, layout, shared);

  ptx::launch_dependents();
  if (multiplies) {
    ring.start();  // weights first: they never wait for another kernel
    if (role.col_warp == 0 && ptx::elect()) prefetch_tiles<kWeight>(args, place, role);
  } else {
    for (int i = lane; i < args.plan.panels; i += 32) {
      ptx::barrier_init(shared + layout.panel_full(i), 1);
      ptx::barrier_init(shared + layout.panel_empty(i), 32 * layout.warps * args.plan.share);
    }
    if (lane < 2) {
      ptx::barrier_init(shared + layout.exchanged(lane), (layout.warps << args.geometry.log_split) + 1);
    }
    ptx::barrier_init_fence();
  }
  __syncthreads();
  // The barriers of all blocks must be ready before x is shared, or else before sums are.
  const bool shares = args.plan.share > 1;
  ptx::cluster_arrive();
  if (shares) ptx::cluster_wait();
  if (multiplies) {
    multiply<kWeight, T, kBlocks>(args, place, layout, storage, role, ring);
  } else {
    bring_x<T>(args, place, layout, shared, lane);
    __syncwarp();
    if (!shares) ptx::cluster_wait();
  }
  // No block leaves before its neighbours are done with it. Where only sums are exchanged it has all that
  // they send it.
  if (shares) {
    __syncwarp();
    ptx::cluster_arrive();
    ptx::cluster_wait();
  }
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

// More than half of a multiprocessor's 228 KB, for every block. Where two fit, blocks of the stream's next
// kernel crowd on some multiprocessors and leave others without: overlapped, that took up to 1.6 times as
// long.
constexpr int kLeastShared = 115 << 10;

Status launch(Kernel kernel, const Arguments& args, int shared_bytes, const ProductCall& call) {
  const DecodePlan& plan = args.plan;
  ClusterLaunch launch(plan.split * plan.share, 32 * (plan.row_warps * plan.col_warps + 1),
                       std::max(shared_bytes, kLeastShared), call);
  return launch.run(kernel, plan.clusters, args);
}

// A cluster has to fit into one of the device's processor groups, so fewer fit than processors / size.
Status count_clusters(int size, int shared_bytes, int* clusters) {
  const Kernel kernel = decode24_kernel<Weight24::k16, __nv_bfloat16, 1>;
  ClusterLaunch launch(size, 32 * (decode_max_warps(Weight24::k16, 1) + 1), shared_bytes, {});
  return launch.count(kernel, clusters);
}

Geometry geometry_of(const Matrix24& matrix, const DecodePlan& plan) {
  Geometry g;
  g.log_split = plan.split == 8 ? 3 : plan.split / 2;
  g.tiles_k = int(tiles_along24(matrix.cols, kTileCols24));
  g.row_tiles = int(tiles_along24(matrix.rows, kTileRows24));
  g.rounds = int(tiles_along24(g.row_tiles, plan.clusters * plan.share * plan.row_warps));
  g.reciprocal = (65536 + plan.row_warps - 1) / plan.row_warps;
  return g;
}

}  // namespace

Status decode_limits(DeviceLimits* limits) {
  Device device;
  if (const Status s = current_device(&device); !s.ok()) return s;
  if (device.major != 9) return {Reason::kDevice};
  limits->shared_bytes = device.shared_bytes;
  for (int i = 0; i < 4; ++i) {
    if (const Status counted = count_clusters(1 << i, limits->shared_bytes, &limits->clusters[i]);
        !counted.ok())
      return counted;
  }
  return {};
}

Status decode24(const Matrix24& matrix, const DecodePlan& plan, const ProductCall& call) {
  if (matrix.rows < 1 || matrix.cols < 64 || matrix.cols % 64 != 0 || both_8_bits(matrix.weight))
    return {Reason::kShape};
  if (call.tokens < 1 || call.tokens > kMaxDecodeTokens || call.x_stride < matrix.cols ||
      call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (matrix.weight == Weight24::kInt8 && matrix.row_scales == nullptr) return {Reason::kShape};
  if (!aligned16(matrix.stream) || !aligned16(call.x) || call.x_stride % 8 != 0) return {Reason::kAlignment};
  if (!decode_plan_fits(matrix.weight, matrix.cols, call.tokens, plan)) return {Reason::kPlan};
  const Arguments args{static_cast<const uint8_t*>(matrix.stream),
                       call.x,
                       call.y,
                       matrix.weight == Weight24::kInt8 ? matrix.row_scales : nullptr,
                       call.x_stride,
                       call.y_stride,
                       matrix.rows,
                       matrix.cols,
                       call.tokens,
                       plan,
                       geometry_of(matrix, plan)};
  const int blocks = decode_token_blocks(call.tokens);
  const Kernel kernel = call.element == Element::kF16 ? kernel_for<__half>(matrix.weight, blocks)
                                                      : kernel_for<__nv_bfloat16>(matrix.weight, blocks);
  return launch(kernel, args,
                decode_shared_bytes({matrix.weight, matrix.rows, matrix.cols, call.tokens}, plan), call);
}

}  // namespace prune::kernels::cuda
