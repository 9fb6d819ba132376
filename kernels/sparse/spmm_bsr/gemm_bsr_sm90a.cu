#include <algorithm>

#include "kernels/sparse/cuda/cluster_launch.h"
#include "kernels/sparse/cuda/group_sums.h"
#include "kernels/sparse/cuda/ptx.h"
#include "kernels/sparse/cuda/tensor_map.h"
#include "kernels/sparse/spmm_bsr/gemm_bsr.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kRows = 2 * kSlabRows;  // of a thread block
constexpr int kWarps = 8;             // that multiply: two warp groups
constexpr int kThreads = 32 * (kWarps + 4);
constexpr int kBandTokenTiles = 8;  // token tiles that neighbours in time work on, for the L2
constexpr int kStepBytes = 8 * kSlabBytes;
constexpr int kSharedBytes = 227 << 10;

struct Arguments {
  const uint32_t* step_starts;
  const uint32_t* slab_starts;
  const uint32_t* steps;
  const uint8_t* slabs;
  int groups;
  int token_tiles;
};

// A thread block's shared memory. A slot holds a step: x [tokens][64 columns], slabs, and the step's word.
template <int kTokens>
struct Layout {
  static constexpr int kXBytes = kTokens * kStepCols * 2;
  static constexpr int kSlots =
      std::min((kSharedBytes - 4 * kStoreBytes<kTokens> - 256) / (kXBytes + kStepBytes), 8);
  static constexpr int kSlabs = kSlots * kXBytes;  // slots of x come first: the swizzle wants 1024 bytes
  static constexpr int kStore = kSlabs + kSlots * kStepBytes;
  static constexpr int kWords = kStore + 4 * kStoreBytes<kTokens>;
  static constexpr int kBarriers = kWords + 4 * 8;
  static constexpr int full(int slot) { return kBarriers + 24 * slot; }
  static constexpr int x_empty(int slot) { return kBarriers + 24 * slot + 8; }
  static constexpr int slabs_empty(int slot) { return kBarriers + 24 * slot + 16; }
  static constexpr int kBytes = kBarriers + 24 * kSlots;
  static_assert(kBytes <= kSharedBytes && kSlots <= 8);
};

// A place in the ring of slots.
template <int kSlots>
struct Ring {
  int slot = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++slot == kSlots) slot = 0, parity ^= 1;
  }
};

// The output tiles of a cluster, one after the other: bands of kBandTokenTiles token tiles, and in a band
// group after group.
template <int kCluster, class Body>
__device__ inline void for_each_tile(const Arguments& args, const Body& body) {
  const int clusters = int(gridDim.x) / kCluster;
  for (int index = int(blockIdx.x) / kCluster; index < args.groups * args.token_tiles; index += clusters) {
    const int band = index / (kBandTokenTiles * args.groups),
              in_band = index - band * kBandTokenTiles * args.groups;
    const int width = min(kBandTokenTiles, args.token_tiles - band * kBandTokenTiles);
    body(in_band / width, band * kBandTokenTiles + in_band % width);
  }
}

// The steps of a group, one after the other, the next word on its way.
template <class Body>
__device__ inline void for_each_step(const Arguments& args, int group, const Body& body) {
  const uint32_t begin = __ldg(args.step_starts + group), end = __ldg(args.step_starts + group + 1);
  uint32_t next = begin < end ? __ldg(args.steps + begin) : 0;
  for (uint32_t s = begin; s < end; ++s) {
    const uint32_t word = next;
    if (s + 1 < end) next = __ldg(args.steps + s + 1);
    body(word);
  }
}

// One thread brings its share of the tokens to all blocks of the cluster;
template <int kCluster, int kTokens>
__device__ void bring_x(const Arguments& args, const CUtensorMap* x_map, uint32_t shared, int rank) {
  using L = Layout<kTokens>;
  constexpr int kShare = kTokens / kCluster;
  Ring<L::kSlots> ring;
  ptx::wait_for_prerequisites();
  for_each_tile<kCluster>(args, [&](int group, int token_tile) {
    for_each_step(args, group, [&](uint32_t word) {
      const uint32_t full = shared + L::full(ring.slot), to = shared + ring.slot * L::kXBytes;
      const int col = int(word & 0xffff) * kStepCols, token = token_tile * kTokens;
      ptx::barrier_wait(shared + L::x_empty(ring.slot), ring.parity ^ 1);
      ptx::barrier_expect(full, L::kXBytes);
      if constexpr (kCluster == 1) {
        ptx::copy_box(to, x_map, col, token, full);
      } else {
        ptx::copy_box_multicast(to + rank * kShare * kStepCols * 2, x_map, col, token + rank * kShare, full,
                                (1 << kCluster) - 1);
      }
      ring.advance();
    });
  });
}

// and one brings the slabs, without waiting for another kernel, and says what the slot holds.
template <int kCluster, int kTokens>
__device__ void bring_slabs(const Arguments& args, uint32_t shared, int rank) {
  using L = Layout<kTokens>;
  Ring<L::kSlots> ring;
  for_each_tile<kCluster>(args, [&](int group, int) {
    const uint8_t* from =
        args.slabs + int64_t(__ldg(args.slab_starts + kCluster * group + rank)) * kSlabBytes;
    for_each_step(args, group, [&](uint32_t word) {
      const uint32_t full = shared + L::full(ring.slot);
      const uint32_t bytes = __popc(word >> (16 + 8 * rank) & 0xff) * uint32_t(kSlabBytes);
      ptx::barrier_wait(shared + L::slabs_empty(ring.slot), ring.parity ^ 1);
      asm volatile("st.shared.u32 [%0], %1;" ::"r"(shared + L::kWords + 4 * ring.slot), "r"(word) : "memory");
      ptx::barrier_expect(full, bytes);
      if (bytes > 0) ptx::copy_bulk(shared + L::kSlabs + ring.slot * kStepBytes, from, bytes, full);
      from += bytes;
      ring.advance();
    });
  });
}

// sums += this warp group's slabs of a slot, which `mask` names, times x. `slabs`: of this warp and lane.
template <class T, int kTokens>
__device__ inline void multiply_step(GroupSums<kTokens>& sums, uint32_t mask, uint32_t slabs, uint64_t x) {
  constexpr int kSlabs = kStepCols / kSlabCols;
  uint4 a[kSlabs];
#pragma unroll
  for (int i = 0; i < kSlabs; ++i) {
    if (mask >> i & 1) {
      a[i] = ptx::load_shared_16(slabs);
      slabs += kSlabBytes;
    }
  }
  const auto add = [&](int i) { ptx::wgmma_dense<T>(sums, a[i], x + uint64_t(i * (kSlabCols * 2 >> 4))); };
  if (mask == (1 << kSlabs) - 1) {
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kSlabs; ++i) add(i);
    ptx::wgmma_commit();
  } else {
#pragma unroll
    for (int i = 0; i < kSlabs; ++i) {
      if (mask >> i & 1) {
        ptx::wgmma_fence();
        add(i);
        ptx::wgmma_commit();
      }
    }
  }
  ptx::wgmma_wait<0>();
}

// A warp group's registers may not change while its products run, so it waits for them before it loads again;
// the other group's keep the tensor cores busy meanwhile.
template <class T, int kCluster, int kTokens>
__device__ void multiply(const Arguments& args, const CUtensorMap* y_map, uint32_t shared, int rank, int warp,
                         int lane) {
  using L = Layout<kTokens>;
  const int half = warp / 4;
  const auto steps_of = [&](int group) {
    return __ldg(args.step_starts + group + 1) - __ldg(args.step_starts + group);
  };
  int64_t left = 0;
  for_each_tile<kCluster>(args, [&](int group, int) { left += steps_of(group); });
  Ring<L::kSlots> ring;
  for_each_tile<kCluster>(args, [&](int group, int token_tile) {
    GroupSums<kTokens> sums = {};
    const uint32_t steps = steps_of(group);
    if (steps == 0) ptx::wait_for_prerequisites();  // no step that waits for x orders these zeros behind them
    for (uint32_t s = 0; s < steps; ++s, --left) {
      ptx::barrier_wait(shared + L::full(ring.slot), ring.parity);
      uint32_t word;
      asm volatile("ld.shared.u32 %0, [%1];"
                   : "=r"(word)
                   : "r"(shared + L::kWords + 4 * ring.slot)
                   : "memory");
      const uint32_t masks = word >> (16 + 8 * rank), mask = masks >> (4 * half) & 15,
                     before = half ? __popc(masks & 15) * uint32_t(kSlabBytes) : 0;
      if (mask != 0) {
        multiply_step<T, kTokens>(
            sums, mask, shared + L::kSlabs + ring.slot * kStepBytes + before + (warp & 3) * 512 + lane * 16,
            ptx::descriptor_128(shared + ring.slot * L::kXBytes));
      }
      ptx::barrier_arrive(shared + L::slabs_empty(ring.slot));  // every lane for its own loads
      // Nobody waits for the last uses of the slots, and their block may be gone: no word of those.
      __syncwarp();
      if (left > L::kSlots && lane < kCluster)
        ptx::barrier_arrive_remote(shared + L::x_empty(ring.slot), lane);
      ring.advance();
    }
    store_sums<T, kTokens>(sums, y_map, shared + L::kStore + half * 2 * kStoreBytes<kTokens>, half,
                           (group * kCluster + rank) * kRows + half * kSlabRows, token_tile * kTokens,
                           warp & 3, lane);
  });
  if ((warp & 3) == 0 && lane == 0) ptx::store_wait_all();
}

template <class T, int kCluster, int kTokens>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_bsr_kernel(const __grid_constant__ Arguments args, const __grid_constant__ CUtensorMap x_map,
                    const __grid_constant__ CUtensorMap y_map) {
  using L = Layout<kTokens>;
  extern __shared__ __align__(1024) uint8_t storage[];
  const uint32_t shared = ptx::shared_address(storage);
  const int warp = __shfl_sync(~0u, int(threadIdx.x) / 32, 0), rank = int(ptx::cluster_rank());
  ptx::launch_dependents();
  if (threadIdx.x == 0) {
    for (int i = 0; i < L::kSlots; ++i) {
      ptx::barrier_init(shared + L::full(i), 2);
      ptx::barrier_init(shared + L::x_empty(i), kWarps * kCluster);
      ptx::barrier_init(shared + L::slabs_empty(i), 32 * kWarps);
    }
    ptx::barrier_init_fence();
  }
  __syncthreads();
  ptx::cluster_arrive();
  ptx::cluster_wait();
  if (warp >= kWarps) {
    ptx::registers_down<40>();
    if (ptx::elect()) {
      if (warp == kWarps) bring_x<kCluster, kTokens>(args, &x_map, shared, rank);
      if (warp == kWarps + 1) bring_slabs<kCluster, kTokens>(args, shared, rank);
    }
    __syncwarp();
  } else {
    ptx::registers_up<232>();
    multiply<T, kCluster, kTokens>(args, &y_map, shared, rank, warp, int(threadIdx.x) & 31);
    __syncwarp();
  }
  ptx::cluster_arrive();  // no block leaves before its neighbour is done with it
  ptx::cluster_wait();
}

struct Kernel {
  void (*function)(Arguments, CUtensorMap, CUtensorMap);
  int shared_bytes;
};
template <class T, int kCluster>
Kernel kernel_for(int tile_tokens) {
  if (tile_tokens == 64) return {gemm_bsr_kernel<T, kCluster, 64>, Layout<64>::kBytes};
  if (tile_tokens == 128) return {gemm_bsr_kernel<T, kCluster, 128>, Layout<128>::kBytes};
  return {gemm_bsr_kernel<T, kCluster, 256>, Layout<256>::kBytes};
}
template <class T>
Kernel kernel_for(int cluster, int tile_tokens) {
  return cluster == 1 ? kernel_for<T, 1>(tile_tokens) : kernel_for<T, 2>(tile_tokens);
}

// As many clusters as fit; each walks over several output tiles.
Status launch(const Kernel& kernel, int cluster, const Arguments& args, const CUtensorMap& x_map,
              const CUtensorMap& y_map, const ProductCall& call) {
  ClusterLaunch launch(cluster, kThreads, kernel.shared_bytes, call);
  int fit = 0;
  if (const Status s = launch.count(kernel.function, &fit); !s.ok()) return s;
  if (fit < 1) return {Reason::kDevice};
  return launch.run(kernel.function, std::min(fit, args.groups * args.token_tiles), args, x_map, y_map);
}

}  // namespace

int tile_for_gemm_bsr(const SlabsBsr& matrix, int tokens, int multiprocessors) {
  constexpr int kFixed = 100;  // what a step costs beside its products, in tokens' worth of them
  const int at_once = std::max(1, multiprocessors / matrix.cluster);
  int best = 64;
  int64_t least = INT64_MAX;
  for (const int tile : {64, 128, 256}) {
    const int64_t tiles = slab_groups(matrix.rows, matrix.cluster) * ((tokens + tile - 1) / tile);
    const int64_t cost = (tiles + at_once - 1) / at_once * (tile + kFixed);
    if (cost <= least) least = cost, best = tile;
  }
  return best;
}

Status gemm_bsr(const SlabsBsr& matrix, int tile_tokens, const ProductCall& call) {
  if (matrix.rows < 16 || matrix.rows % 16 != 0 || matrix.cols < 16 || matrix.cols % 16 != 0 ||
      call.tokens < 1 || call.x_stride < matrix.cols || call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (!aligned16(matrix.slabs) || !aligned16(call.x) || !aligned16(call.y) || call.x_stride % 8 != 0 ||
      call.y_stride % 8 != 0) {
    return {Reason::kAlignment};
  }
  if ((tile_tokens != 64 && tile_tokens != 128 && tile_tokens != 256) ||
      (matrix.cluster != 1 && matrix.cluster != 2)) {
    return {Reason::kPlan};
  }
  const bool half = call.element == Element::kF16;
  const TensorMaps maps;
  CUtensorMap x_map, y_map;
  Status s = maps.make(map_type(call.element), call.x, call.tokens, matrix.cols, call.x_stride,
                       tile_tokens / matrix.cluster, &x_map);
  if (s.ok())
    s = maps.make(map_type(call.element), call.y, call.tokens, matrix.rows, call.y_stride, 32, &y_map);
  if (!s.ok()) return s;
  const Arguments args{matrix.step_starts,
                       matrix.slab_starts,
                       matrix.steps,
                       static_cast<const uint8_t*>(matrix.slabs),
                       int(slab_groups(matrix.rows, matrix.cluster)),
                       (call.tokens + tile_tokens - 1) / tile_tokens};
  const Kernel kernel = half ? kernel_for<__half>(matrix.cluster, tile_tokens)
                             : kernel_for<__nv_bfloat16>(matrix.cluster, tile_tokens);
  return launch(kernel, matrix.cluster, args, x_map, y_map, call);
}

}  // namespace prune::kernels::cuda
