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
#include "kernels/sparse/spmm_nm/decode24_compute.h"
#include "kernels/sparse/spmm_nm/decode24_layout.h"

namespace prune::kernels::cuda {
namespace {

// What the host works out once, so that no block divides before its first fetch.
struct Geometry {
  int log_split;   // log2 of plan.split
  int tiles_k;     // column tiles of the matrix
  int row_tiles;   // row tiles
  int rounds;      // groups of rows that each cluster walks over
  int reciprocal;  // 65536 / row_warps, rounded up: warp / row_warps is warp * reciprocal >> 16
};

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
  Geometry geometry;
};

// Where a block stands in the grid, and its share of the columns.
struct Place {
  const Geometry& geometry;
  int split_rank;  // among the blocks on the same rows
  int share_rank;  // among the blocks on the same columns
  int rows_at;     // the block's place among all that walk over the rows
  int first;       // this block's first column tile
  int count;       // and how many it has

  __device__ explicit Place(const Arguments& args) : geometry(args.geometry) {
    const int rank = int(ptx::cluster_rank());
    split_rank = rank & (args.plan.split - 1);
    share_rank = rank >> geometry.log_split;
    rows_at = int(blockIdx.x) >> geometry.log_split;
    first = geometry.tiles_k * split_rank >> geometry.log_split;
    count = (geometry.tiles_k * (split_rank + 1) >> geometry.log_split) - first;
  }
  __device__ int row_step(const DecodePlan& plan) const {
    return plan.clusters * plan.share * plan.row_warps;
  }
  __device__ int row_tile(const DecodePlan& plan, int round, int row_warp) const {
    return round * row_step(plan) + rows_at * plan.row_warps + row_warp;
  }
  // The cluster's rank of the block that has part `split` of these rows, and of the one on these columns at
  // `share`.
  __device__ int on_same_rows(int split) const { return (share_rank << geometry.log_split) + split; }
  __device__ int on_same_columns(int share) const { return (share << geometry.log_split) + split_rank; }
};

// A warp's part in its block.
struct Role {
  int warp;
  int lane;
  int row_warp;
  int col_warp;

  __device__ Role(const Arguments& args, int warp_index, int lane_index)
      : warp(warp_index), lane(lane_index) {
    col_warp = warp * args.geometry.reciprocal >> 16;
    row_warp = warp - col_warp * args.plan.row_warps;
  }
};

// The order in which a warp takes its tiles: rounds of rows, and in each the column tiles col_warp, col_warp
// + col_warps, ... One lane walks it, between two multiplications: so only additions.
template <Weight24 kWeight>
class TileWalk {
 public:
  __device__ TileWalk(const Arguments& args, const Place& place, const Role& role) {
    const DecodePlan& plan = args.plan;
    const Geometry& geometry = args.geometry;
    const int row_tile = place.row_tile(plan, 0, role.row_warp), row_step = place.row_step(plan);
    // The last round may be short of rows; the ones before are whole.
    const bool in_last = row_tile + (geometry.rounds - 1) * row_step < geometry.row_tiles;
    per_round_ = tiles_of(place, role, plan);
    left_in_round_ = per_round_;
    left_ = per_round_ * (geometry.rounds - (in_last ? 0 : 1));
    step_ = plan.col_warps * tile_bytes24(kWeight);
    round_jump_ = (int64_t(row_step) * geometry.tiles_k - int64_t(per_round_ - 1) * plan.col_warps) *
                  tile_bytes24(kWeight);
    address_ = args.stream +
               (int64_t(row_tile) * geometry.tiles_k + place.first + role.col_warp) * tile_bytes24(kWeight);
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
  __device__ static int tiles_of(const Place& place, const Role& role, const DecodePlan& plan) {
    int tiles = 0;
    for (int k = role.col_warp; k < place.count; k += plan.col_warps) ++tiles;
    return tiles;
  }

  const uint8_t* address_;
  int64_t round_jump_;
  int step_;
  int per_round_;
  int left_in_round_;
  int left_;
};

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

// y <- the sums of this block's share of the outputs, for one piece of the tokens: all partial sums are here,
// in source order.
template <class T, int kPiece>
__device__ void combine_piece(const Arguments& args, const Place& place, const DecodeLayout& layout,
                              const float4* buffer, const Role& role, int round, int first_block) {
  const DecodePlan& plan = args.plan;
  const int groups = plan.row_warps * 2 * kPiece, sources = plan.col_warps << args.geometry.log_split;
  for (int slot = role.warp; slot < layout.exchange_slots; slot += layout.warps) {
    const int group = (slot << args.geometry.log_split) + place.split_rank;
    if (group >= groups) break;
    float sum[4] = {};
#pragma unroll 8
    for (int source = 0; source < sources; ++source) {
      const float4 part = buffer[(source * layout.exchange_slots + slot) * 32 + role.lane];
      sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
    }
    const int b = group % kPiece, m = group / kPiece % 2, row_warp = group / (2 * kPiece);
    store_sums<T>(args, sum, place.row_tile(plan, round, row_warp) * kTileRows24 + 16 * m + (role.lane >> 2),
                  (first_block + b) * 8 + 2 * (role.lane & 3));
  }
}

// One piece of a warp's sums to the blocks that add them up; returns when everything for this block is here.
template <int kBlocks, int kPiece>
__device__ void exchange_piece(const Arguments& args, const Place& place, const DecodeLayout& layout,
                               uint32_t shared, const Sums<kBlocks>& sums, const Role& role, int first,
                               uint32_t exchanges) {
  const DecodePlan& plan = args.plan;
  const int groups = plan.row_warps * 2 * kPiece, sources = plan.split * plan.col_warps;
  const int slots_here = (groups - place.split_rank + plan.split - 1) >> args.geometry.log_split;
  const uint32_t barrier = shared + layout.exchanged(exchanges & 1);
  const uint32_t mine = shared + layout.exchange(exchanges & 1) + role.lane * 16 +
                        (place.split_rank * plan.col_warps + role.col_warp) * layout.exchange_slots * 512;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int b = 0; b < kPiece; ++b) {
      const int group = (role.row_warp * 2 + m) * kPiece + b;
      const uint32_t to = mine + (group >> args.geometry.log_split) * 512;
      if (plan.split == 1) {
        ptx::store_shared_16(to, sums[m][first + b]);
      } else {
        ptx::store_remote(to, place.on_same_rows(group & (plan.split - 1)), sums[m][first + b], barrier);
      }
    }
  }
  if (plan.split == 1) {
    asm volatile("bar.sync 1, %0;" ::"r"(layout.warps * 32) : "memory");
    return;
  }
  // Every warp arrives everywhere: it has read what its peers overwrite next. The sums themselves count as
  // bytes.
  __syncwarp();
  if (role.lane < plan.split) ptx::barrier_arrive_remote(barrier, place.on_same_rows(role.lane));
  if (role.warp == 0 && role.lane == 0) ptx::barrier_expect(barrier, slots_here * sources * 512);
  ptx::barrier_wait(barrier, exchanges >> 1 & 1);
}

// A warp's sums of one round to y. Where other warps or blocks share the rows, one exchange a piece of
// tokens. A buffer is written again two exchanges later, and who takes part in the exchange between has read
// it: hence two, and two barriers, so that early bytes of one exchange never count for the other.
template <class T, int kBlocks>
__device__ void combine(const Arguments& args, const Place& place, const DecodeLayout& layout,
                        uint8_t* storage, const Sums<kBlocks>& sums, const Role& role, int round,
                        uint32_t& exchanges) {
  constexpr int kPiece = kBlocks < 2 ? 1 : 2;
  if (args.plan.split * args.plan.col_warps == 1) {  // nothing to combine
    const int row = place.row_tile(args.plan, round, role.row_warp) * kTileRows24 + (role.lane >> 2);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
        store_sums<T>(args, sums[m][b], row + 16 * m, 8 * b + 2 * (role.lane & 3));
    }
    return;
  }
#pragma unroll
  for (int first = 0; first < kBlocks; first += kPiece) {
    exchange_piece<kBlocks, kPiece>(args, place, layout, ptx::shared_address(storage), sums, role, first,
                                    exchanges);
    const float4* buffer = reinterpret_cast<const float4*>(storage + layout.exchange(exchanges & 1));
    combine_piece<T, kPiece>(args, place, layout, buffer, role, round, first);
    ++exchanges;
  }
}

// One warp's ring of tiles: who fetches, waits and hands slots back.
template <Weight24 kWeight>
class Ring {
 public:
  __device__ Ring(const Arguments& args, const Place& place, const Role& role, const DecodeLayout& layout,
                  uint32_t shared)
      : walk_(args, place, role),
        tiles_(shared + layout.ring(role.warp)),
        full_(shared + layout.ring_full(role.warp)),
        depth_(uint32_t(args.plan.depth)),
        policy_(ptx::policy_evict_first()) {}
  // The first tiles are asked for.
  __device__ void start() {
    if (ptx::elect()) {
      for (uint32_t i = 0; i < depth_; ++i) ptx::barrier_init(full_ + 8 * i, 1);
      ptx::barrier_init_fence();
    }
    __syncwarp();
    for (uint32_t i = 0; i < depth_; ++i) fetch(i);
  }
  // The next tile, once it is here.
  __device__ void take(LaneTile<kWeight>& tile, int lane) {
    ptx::barrier_wait(full_ + 8 * slot_, phase_);
    tile.load(tiles_ + slot_ * tile_bytes24(kWeight), lane);
    __syncwarp();  // all lanes have their words: the slot may be filled again
    fetch(slot_);
    if (++slot_ == depth_) slot_ = 0, phase_ ^= 1;
  }

 private:
  __device__ void fetch(uint32_t slot) {
    if (walk_.done()) return;
    const uint8_t* from = walk_.take();
    if (!ptx::elect()) return;
    ptx::barrier_expect(full_ + 8 * slot, tile_bytes24(kWeight));
    ptx::copy_bulk(tiles_ + slot * tile_bytes24(kWeight), from, tile_bytes24(kWeight), full_ + 8 * slot,
                   policy_);
  }

  TileWalk<kWeight> walk_;
  uint32_t tiles_;
  uint32_t full_;
  uint32_t depth_;
  uint32_t slot_ = 0;
  uint32_t phase_ = 0;
  uint64_t policy_;
};

// Asks the L2 for the tiles that come after those in flight, round after round of this warp's rows: while the
// stream's previous kernel ends, or x is on its way, memory is not idle.
template <Weight24 kWeight>
__device__ void prefetch_tiles(const Arguments& args, const Place& place, const Role& role) {
  const DecodePlan& plan = args.plan;
  int skip = plan.depth * plan.col_warps, left = plan.prefetch;
  for (int round = 0; round < args.geometry.rounds && left > 0; ++round) {
    const int row_tile = place.row_tile(plan, round, role.row_warp), tiles = min(place.count - skip, left);
    if (row_tile >= args.geometry.row_tiles) return;
    if (tiles > 0) {
      const int64_t first = int64_t(row_tile) * args.geometry.tiles_k + place.first + skip;
      ptx::prefetch_bulk(args.stream + first * tile_bytes24(kWeight),
                         uint32_t(tiles) * tile_bytes24(kWeight));
      left -= tiles;
    }
    skip = max(0, skip - place.count);
  }
}

template <Weight24 kWeight, class T, int kBlocks>
__device__ void multiply(const Arguments& args, const Place& place, const DecodeLayout& layout,
                         uint8_t* storage, const Role& role, Ring<kWeight>& ring) {
  const DecodePlan& plan = args.plan;
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
    int tile_k = role.col_warp;
    for (int panel = 0; panel < walk.panels(); ++panel) {
      ptx::barrier_wait(shared + layout.panel_full(walk.slot()), walk.parity());
      const uint32_t x = shared + layout.panel(walk.slot());
      const int start = panel * plan.panel_tiles, end = min(start + plan.panel_tiles, place.count);
      for (; active && tile_k < end; tile_k += plan.col_warps) {
        LaneTile<kWeight> tile;
        ring.take(tile, role.lane);
        const int steps = (args.cols - (place.first + tile_k) * kTileCols24) / 32;
        multiply_tile<kWeight, T, kBlocks>(sums, tile, x + (tile_k - start) * (kTileCols24 * 2), x_block,
                                           steps);
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
  ptx::cluster_arrive();
  ptx::cluster_wait();  // the barriers of all blocks are ready
  if (multiplies) {
    multiply<kWeight, T, kBlocks>(args, place, layout, storage, role, ring);
  } else {
    bring_x<T>(args, place, layout, shared, lane);
  }
  if (args.plan.split * args.plan.share > 1) {  // no block leaves before its neighbours are done with it
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
