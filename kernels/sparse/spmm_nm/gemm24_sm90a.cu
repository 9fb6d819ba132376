#include <algorithm>

#include "kernels/sparse/cuda/cluster_launch.h"
#include "kernels/sparse/cuda/tensor_map.h"
#include "kernels/sparse/spmm_nm/gemm24_call.h"
#include "kernels/sparse/spmm_nm/gemm24_sums.h"

namespace prune::kernels::cuda {
namespace {

// Sums as the tensor cores keep them, in GroupSums' order.
template <class T, int kTokens>
using Products = typename ptx::SumOf<T>::Type[kTokens / 2];

// Whether a tile's products are summed by themselves first: those of int4 have a scale of their own, and of
// e4m3 the tensor cores keep some 14 bits of a sum, so no more than a tile's 128 products are left to them.
template <Weight24 kWeight, class T>
constexpr bool kApart = kWeight == Weight24::kInt4 || __is_same(T, __nv_fp8_e4m3);
constexpr int kApartTokens = 128;  // at most at a time, for the registers' sake

// Whether the two slots of x that a tile takes are waited for, and handed back, one by one. That pays where
// they are large.
template <int kTokens>
constexpr bool kByHalves = kTokens >= 128;

// into = or += weights * x for a tile's columns of x, which lie in two slots. `arrived` waits for one of
// them, `issued` runs when the products are under way, before they are done, and `over` when a slot's are.
template <bool kHalves, Weight24 kWeight, class T, class Into, class Arrived, class Issued, class Over>
__device__ inline void multiply_steps(Into& into, bool add, const WarpWeights<kWeight, T>& weights,
                                      const uint64_t (&x)[2], uint64_t token_offset, const Arrived& arrived,
                                      const Issued& issued, const Over& over) {
  if (!kHalves) arrived(0), arrived(1);
  if (!kHalves) ptx::wgmma_fence();
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    if (kHalves && s % 2 == 0) {
      arrived(s / 2);
      ptx::wgmma_fence();
    }
    ptx::wgmma_sparse<T>(into, weights.a[s], x[s / 2] + token_offset + (s % 2) * (64 >> 4),
                         weights.metadata[s], add || s > 0);
    if (s == 3 || (kHalves && s == 1)) ptx::wgmma_commit();
  }
  issued();
  if (kHalves) {
    ptx::wgmma_wait<1>();
    over(0);
  }
  ptx::wgmma_wait<0>();
  if (!kHalves) over(0);
  over(1);
}

// sums += weights * x.
template <Weight24 kWeight, class T, int kTokens, class Arrived, class Issued, class Over>
__device__ inline void multiply_tile(Products<T, kTokens>& sums, const WarpWeights<kWeight, T>& weights,
                                     const uint64_t (&x)[2], const Arrived& arrived, const Issued& issued,
                                     const Over& over) {
  if constexpr (kApart<kWeight, T>) {
    constexpr int kPart = std::min(kTokens, kApartTokens);
#pragma unroll
    for (int first = 0; first < kTokens; first += kPart) {
      const bool is_first = first == 0, is_last = first + kPart == kTokens;
      GroupSums<kPart> part;
      multiply_steps<kByHalves<kTokens>>(
          part, false, weights, x, first * kGemmXRowBytes >> 4,
          [&](int half) {
            if (is_first) arrived(half);
          },
          [&] {
            if (is_last) issued();
          },
          [&](int half) {
            if (is_last) over(half);
          });
#pragma unroll
      for (int i = 0; i < kPart / 2; ++i) {
        float& sum = sums[first / 2 + i];
        sum = kWeight == Weight24::kInt4 ? fmaf(weights.scale(i >> 1 & 1), part[i], sum) : sum + part[i];
      }
    }
  } else {
    multiply_steps<kByHalves<kTokens>>(sums, true, weights, x, 0, arrived, issued, over);
  }
}

// A warp's part in its block.
struct Role {
  int group;
  int warp;
  int lane;

  __device__ explicit Role(int warp_index)
      : group(warp_index / 4), warp(warp_index & 3), lane(int(threadIdx.x) & 31) {}
};

// The tiles of a block, as one warp sees them go by.
template <Weight24 kWeight, class T, int kTokens>
class TileStream {
 public:
  using L = GemmLayout<kWeight, kTokens>;

  __device__ TileStream(const Arguments& args, const Place& place, const Role& role, uint32_t shared,
                        int tiles)
      : shared_(shared),
        sharers_(place.split_rank << args.log_share),
        share_(1 << args.log_share),
        role_(role),
        uses_left_(2 * tiles) {}

  // Operands in registers may not change while a product runs, so a warp group waits for its products before
  // it loads again; the other warp groups' keep the tensor cores busy meanwhile. A slot of x goes back as
  // soon as its half of them is over (kByHalves): more slots do not fit, and their way through the L2 is
  // long.
  __device__ void multiply(Products<T, kTokens>& sums) {
    WarpWeights<kWeight, T> weights;
    ptx::barrier_wait(shared_ + L::weights_full(weights_.slot), weights_.parity);
    weights.load(shared_ + L::kWeights + weights_.slot * L::kWeightBytes +
                     (2 * role_.group + (role_.warp >> 1)) * L::kTileBytes,
                 role_.warp & 1, role_.lane);
    RingPlace<L::kXSlots> x[2];
    uint64_t operand[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      x[half] = x_;
      operand[half] = ptx::descriptor_128(shared_ + L::kX + x_.slot * L::kXBytes);
      x_.advance();
    }
    multiply_tile<kWeight, T, kTokens>(
        sums, weights, operand,
        [&](int half) { ptx::barrier_wait(shared_ + L::x_full(x[half].slot), x[half].parity); },
        // A product that is issued has its registers: only now are the loads above over for certain, and the
        // slot may be written.
        [&] { ptx::barrier_arrive(shared_ + L::weights_empty(weights_.slot)); },  // every lane for its own
        [&](int half) { release_x(x[half].slot); });
    weights_.advance();
  }

 private:
  // Nobody waits for the last uses of the slots of x, and their block may be gone: no word of those.
  __device__ void release_x(int slot) {
    if (uses_left_-- > L::kXSlots && role_.lane < share_)
      ptx::barrier_arrive_remote(shared_ + L::x_empty(slot), sharers_ + role_.lane);
  }

  uint32_t shared_;
  int sharers_;
  int share_;
  Role role_;
  int uses_left_;
  RingPlace<L::kXSlots> x_;
  RingPlace<L::kWeightSlots> weights_;
};

// A warp group's sums to a y of 16 bits.
template <class T, int kTokens>
__device__ inline void store_16_bits(const Arguments& args, const GroupSums<kTokens>& sums,
                                     const CUtensorMap* y_map, uint32_t buffers, const Role& role, int row,
                                     int token) {
  if constexpr (sizeof(T) == 2) {
    store_sums<T, kTokens>(sums, y_map, buffers, role.group, row, token, role.warp, role.lane);
  } else if (args.finish.half) {
    store_sums<__half, kTokens>(sums, y_map, buffers, role.group, row, token, role.warp, role.lane);
  } else {
    store_sums<__nv_bfloat16, kTokens>(sums, y_map, buffers, role.group, row, token, role.warp, role.lane);
  }
}

// Says that this warp has taken the sums that were sent: to who sends more, or brings x there.
template <Weight24 kWeight, int kTokens>
__device__ inline void has_taken(const Arguments& args, const Place& place, uint32_t shared, int lane) {
  using L = GemmLayout<kWeight, kTokens>;
  if constexpr (L::kExchangeApart) {
    tell_blocks(args, place, shared + L::kReady, lane);
  } else {
    __syncwarp();
    if (lane < 1 << args.log_share)
      ptx::barrier_arrive_remote(shared + L::kTaken, (place.split_rank << args.log_share) + lane);
  }
}

template <Weight24 kWeight, class T, int kTokens>
__device__ void multiply(const Arguments& args, const Place& place, const CUtensorMap* y_map,
                         uint8_t* storage, int warp_index) {
  using L = GemmLayout<kWeight, kTokens>;
  const uint32_t shared = ptx::shared_address(storage);
  const Role role(warp_index);
  const int outputs = args.row_blocks * args.token_tiles;
  TileStream<kWeight, T, kTokens> stream(
      args, place, role, shared, (outputs - place.cluster + args.clusters - 1) / args.clusters * place.count);
  uint32_t parity = 0;
  for (int index = place.cluster; index < outputs; index += args.clusters) {
    const OutputTile tile(args, index);
    const int row = place.row(args, tile.row_block), token = tile.token_tile * kTokens;
    prefetch_residual<kTokens>(args.finish, row + role.group * 64, token, role.warp * 32 + role.lane);
    Products<T, kTokens> products = {};
    for (int k = 0; k < place.count; ++k) stream.multiply(products);
    GroupSums<kTokens> sums;
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) sums[i] = float(products[i]);
    const bool is_first = index == place.cluster, is_last = index + args.clusters >= outputs;
    if (is_first && args.log_share == 0) ptx::cluster_wait();  // long over
    const int warp_row = row + warp_index * 16 + (role.lane >> 2), group_row = row + role.group * 64;
    if (args.split > 1) {
      if (args.plain && args.finish.row_scales) scale_rows<kTokens>(args.finish, sums, warp_row);
      exchange_sums<kWeight, T, kTokens>(args, place, storage, sums, row, token, warp_index, role.lane,
                                         is_first, parity);
      parity ^= 1;
      if (!is_last) has_taken<kWeight, kTokens>(args, place, shared, role.lane);
    } else if (args.light) {
      static_assert(L::kStoreBytes == kStoreBytes<kTokens>);
      finish_in_registers<kTokens>(args.finish, sums, warp_row, token, role.lane);
      store_16_bits<T, kTokens>(args, sums, y_map, shared + L::kStore + role.group * 2 * L::kStoreBytes, role,
                                group_row, token);
    } else {
      float* buffer = reinterpret_cast<float*>(storage + L::kStore + role.group * 2 * L::kStoreBytes);
      finish_sums<kTokens>(args.finish, sums, buffer, group_row, token, role.group, role.warp, role.lane);
    }
  }
  if (role.warp == 0 && role.lane == 0) ptx::store_wait_all();
}

template <Weight24 kWeight, int kTokens>
__device__ void start_barriers(const Arguments& args, uint32_t shared) {
  using L = GemmLayout<kWeight, kTokens>;
  for (int i = 0; i < L::kXSlots; ++i) {
    ptx::barrier_init(shared + L::x_full(i), 1);
    ptx::barrier_init(shared + L::x_empty(i), kGemmWarps << args.log_share);
  }
  for (int i = 0; i < L::kWeightSlots; ++i) {
    ptx::barrier_init(shared + L::weights_full(i), 2);
    ptx::barrier_init(shared + L::weights_empty(i), 32 * kGemmWarps);
  }
  ptx::barrier_init(shared + L::kReady, kGemmWarps * args.split);
  ptx::barrier_init(shared + L::kExchanged, 1);
  ptx::barrier_init(shared + L::kTaken, kGemmWarps << args.log_share);
  ptx::barrier_init_fence();
}

template <Weight24 kWeight, class T, int kTokens>
__global__ void __launch_bounds__(kGemmThreads, 1)
    gemm24_kernel(const __grid_constant__ Arguments args, const __grid_constant__ CUtensorMap x_map,
                  const __grid_constant__ CUtensorMap y_map) {
  extern __shared__ __align__(1024) uint8_t storage[];
  const uint32_t shared = ptx::shared_address(storage);
  const int warp = __shfl_sync(~0u, int(threadIdx.x) / 32, 0);
  const Place place(args);
  ptx::launch_dependents();
  if (threadIdx.x == 0) start_barriers<kWeight, kTokens>(args, shared);
  __syncthreads();
  // The barriers of all blocks must be ready before x is shared, or else before sums are.
  const bool shares = args.log_share > 0;
  ptx::cluster_arrive();
  if (shares) ptx::cluster_wait();
  if (warp >= kGemmWarps) {
    ptx::registers_down<40>();
    const int feeder = warp - kGemmWarps;
    if (ptx::elect()) {
      if (feeder < 2) {
        bring_weights<kWeight, kTokens>(args, place, shared, feeder);
      } else {
        bring_x<kWeight, kTokens>(args, place, &x_map, shared, feeder - 2);
      }
    }
    __syncwarp();
    if (!shares) ptx::cluster_wait();
  } else {
    ptx::registers_up<232>();
    multiply<kWeight, T, kTokens>(args, place, &y_map, storage, warp);
    __syncwarp();
  }
  // No block leaves before its neighbours are done with it. Where only sums are exchanged it has all that
  // they send it.
  if (shares) {
    ptx::cluster_arrive();
    ptx::cluster_wait();
  }
}

struct Kernel {
  void (*function)(Arguments, CUtensorMap, CUtensorMap) = nullptr;
  int shared_bytes = 0;
};

template <Weight24 kWeight, class T, int kTokens>
Kernel kernel_of() {
  return {gemm24_kernel<kWeight, T, kTokens>, GemmLayout<kWeight, kTokens>::kBytes};
}
template <Weight24 kWeight, class T>
Kernel kernel_for(int tile_tokens) {
  if (tile_tokens == 16) return kernel_of<kWeight, T, 16>();
  if (tile_tokens == 32) return kernel_of<kWeight, T, 32>();
  if (tile_tokens == 64) return kernel_of<kWeight, T, 64>();
  if (tile_tokens == 128) return kernel_of<kWeight, T, 128>();
  if constexpr (kWeight != Weight24::kInt4) return kernel_of<kWeight, T, 256>();
  return {};
}
template <class T>
Kernel kernel_for(Weight24 weight, int tile_tokens) {
  if (weight == Weight24::k16) return kernel_for<Weight24::k16, T>(tile_tokens);
  if (weight == Weight24::kInt8) return kernel_for<Weight24::kInt8, T>(tile_tokens);
  return kernel_for<Weight24::kInt4, T>(tile_tokens);
}
Kernel kernel_for(Weight24 weight, const GemmPlan& plan, Element element) {
  if (weight == Weight24::kInt8x8) return kernel_for<Weight24::kInt8x8, int8_t>(plan.tile_tokens);
  if (weight == Weight24::kFp8x8) {
    return plan.fast_sums ? kernel_for<Weight24::kFp8x8, ptx::FastE4m3>(plan.tile_tokens)
                          : kernel_for<Weight24::kFp8x8, __nv_fp8_e4m3>(plan.tile_tokens);
  }
  return element == Element::kF16 ? kernel_for<__half>(weight, plan.tile_tokens)
                                  : kernel_for<__nv_bfloat16>(weight, plan.tile_tokens);
}

Arguments arguments_of(const Matrix24& matrix, const GemmPlan& plan, const ProductCall& call,
                       const Epilogue& epilogue) {
  Arguments args;
  args.stream = static_cast<const uint8_t*>(matrix.stream);
  args.finish = finish_of(matrix, call, epilogue);
  args.plain = epilogue.plain();
  args.light = args.finish.is_light();
  args.tiles_k = int(tiles_along24(matrix.cols, tile_cols24(matrix.weight)));
  args.row_tiles = int(tiles_along24(matrix.rows, kTileRows24));
  args.row_blocks = int(tiles_along24(matrix.rows, kGemmRows * plan.share));
  args.token_tiles = int(tiles_along24(call.tokens, plan.tile_tokens));
  args.log_share = plan.share / 2;  // 1, 2, 4
  args.split = plan.split;
  args.clusters = args.row_blocks * args.token_tiles;
  return args;
}

// As many clusters as fit; each walks over several output tiles.
Status launch(const Kernel& kernel, Arguments args, const CUtensorMap& x_map, const CUtensorMap& y_map,
              const ProductCall& call) {
  ClusterLaunch launch(args.split << args.log_share, kGemmThreads, kernel.shared_bytes, call);
  int fit = 0;
  if (const Status s = launch.count(kernel.function, &fit); !s.ok()) return s;
  if (fit < 1) return {Reason::kDevice};
  args.clusters = std::min(fit, args.clusters);
  return launch.run(kernel.function, args.clusters, args, x_map, y_map);
}

bool plan_fits(const Matrix24& matrix, const GemmPlan& plan) {
  const auto power = [](int n, int most) { return n >= 1 && n <= most && (n & (n - 1)) == 0; };
  return power(plan.tile_tokens, matrix.weight == Weight24::kInt4 ? 128 : 256) && plan.tile_tokens >= 16 &&
         power(plan.share, 4) && plan.tile_tokens >= 8 * plan.share && plan.split >= 1 &&
         plan.share * plan.split <= 8 && plan.split <= tiles_along24(matrix.cols, tile_cols24(matrix.weight));
}

// The tensors that the copy engine walks over: all of x, and y unless its outputs leave otherwise.
Status make_maps(const Matrix24& matrix, const GemmPlan& plan, const ProductCall& call,
                 const Epilogue& epilogue, CUtensorMap* x_map, CUtensorMap* y_map) {
  const TensorMaps maps;
  const CUtensorMapDataType x_type =
      both_8_bits(matrix.weight) ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : map_type(call.element);
  const Status s = maps.make(x_type, call.x, call.tokens, matrix.cols, call.x_stride,
                             plan.tile_tokens / plan.share, x_map);
  if (!s.ok() || epilogue.single) return s;
  return maps.make(map_type(call.element), call.y, call.tokens, matrix.rows, call.y_stride,
                   std::min(plan.tile_tokens, 32), y_map);
}

}  // namespace

Status gemm24(const Matrix24& matrix, const GemmPlan& plan, const ProductCall& call,
              const Epilogue& epilogue) {
  if (const Status s = check_gemm24(matrix, call, epilogue); !s.ok()) return s;
  if (!plan_fits(matrix, plan)) return {Reason::kPlan};
  CUtensorMap x_map{}, y_map{};
  if (const Status s = make_maps(matrix, plan, call, epilogue, &x_map, &y_map); !s.ok()) return s;
  return launch(kernel_for(matrix.weight, plan, call.element), arguments_of(matrix, plan, call, epilogue),
                x_map, y_map, call);
}

}  // namespace prune::kernels::cuda
