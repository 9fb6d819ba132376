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
constexpr int kPartTokens = 64;  // of those at a time, where a tile has 256

// into = or += weights * x, in the tensor cores for now: from step `first` of the weights on, two steps in
// each of x's slots.
template <class T, class Into, class Weights, int kSlots>
__device__ inline void begin_products(Into& into, bool add, const Weights& weights, int first,
                                      const uint64_t (&x)[kSlots]) {
  ptx::wgmma_fence();
#pragma unroll
  for (int s = 0; s < 2 * kSlots; ++s) {
    ptx::wgmma_sparse<T>(into, weights.a[first + s], x[s / 2] + (s % 2) * (64 >> 4),
                         weights.metadata[first + s], add || s > 0);
  }
  ptx::wgmma_commit();
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

  // sums += the products of the next `tiles` tiles.
  __device__ void multiply(Products<T, kTokens>& sums, int tiles) {
    if constexpr (kTokens < 256) {
      for (int k = 0; k < tiles; ++k) multiply_tile(sums);
    } else if constexpr (kApart<kWeight, T>) {
      for (int k = 0; k < tiles; ++k) multiply_parts(sums);
    } else {
      for (int k = 0; k < tiles; ++k) {
        WarpWeights<kWeight, T, 2> one, other;
        begin_half(sums, one, 0, k > 0);
        begin_half(sums, other, 2, true);
      }
      ptx::wgmma_wait<0>();
      release_x(x_.slot == 0 ? L::kXSlots - 1 : x_.slot - 1);
    }
  }

 private:
  // Operands in registers may not change while a product runs, so a warp group waits for its products before
  // it loads again; the other warp group's keep the tensor cores busy meanwhile.
  __device__ void multiply_tile(Products<T, kTokens>& sums) {
    wait_for_weights();
    WarpWeights<kWeight, T, 4> weights;
    weights.load(tile(), role_.warp & 1, 0, role_.lane);
    if constexpr (kApart<kWeight, T>) {
      const uint32_t scales = load_scales();
      Products<T, kTokens> products;
      multiply_steps(products, false, weights);
      add_part<kTokens>(sums, 0, products, scales);
    } else {
      multiply_steps(sums, true, weights);
    }
  }
  // into = or += the products of a tile. Large slots of x go back, and products begin, one by one.
  __device__ void multiply_steps(Products<T, kTokens>& into, bool add,
                                 const WarpWeights<kWeight, T, 4>& weights) {
    constexpr bool kByHalves = kTokens >= 128;
    const uint64_t x[2] = {operand(0), operand(1)};
    wait_for_x(0);
    if constexpr (kByHalves) {
      begin_products<T>(into, add, weights, 0, {x[0]});
      wait_for_x(1);
      begin_products<T>(into, true, weights, 2, {x[1]});
    } else {
      wait_for_x(1);
      begin_products<T>(into, add, weights, 0, x);
    }
    release_weights();
    release_tile_x<kByHalves>();
  }

  // With 256 tokens there are two sets of operands, and one is loaded while the other's products run. Each is
  // half of a tile, for which x lies in a slot of its own. (Between loads and products of either there may be
  // no branch, or the compiler lets products follow one another.) Begins the products of one, and waits for
  // those of the half before, if there is one.
  __device__ void begin_half(Products<T, kTokens>& sums, WarpWeights<kWeight, T, 2>& weights, int step,
                             bool has_before) {
    if (step == 0) wait_for_weights();
    weights.load(tile(), role_.warp & 1, step, role_.lane);
    wait_for_x(0);
    begin_products<T>(sums, true, weights, 0, {operand(0)});
    if (step == 2) release_weights();
    ptx::wgmma_wait<1>();
    if (has_before) release_x(x_.slot == 0 ? L::kXSlots - 1 : x_.slot - 1);
    x_.advance();
  }

  // With 256 tokens and products that are summed by themselves first: a part of the tokens at a time, one of
  // which is added up while the next one's products run.
  __device__ void multiply_parts(Products<T, kTokens>& sums) {
    constexpr int kParts = kTokens / kPartTokens;
    wait_for_weights();
    WarpWeights<kWeight, T, 4> weights;
    weights.load(tile(), role_.warp & 1, 0, role_.lane);
    const uint32_t scales = load_scales();
    GroupSums<kPartTokens> products[2];
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if (p == 0) wait_for_x(h);
        begin_products<T>(products[p % 2], h > 0, weights, 2 * h,
                          {operand(h) + (p * kPartTokens * kGemmXRowBytes >> 4)});
      }
      if (p == kParts - 1) release_weights();
      if (p == 0) continue;
      ptx::wgmma_wait<2>();
      add_part<kPartTokens>(sums, p - 1, products[(p - 1) % 2], scales);
    }
    release_tile_x<true>();
    add_part<kPartTokens>(sums, kParts - 1, products[(kParts - 1) % 2], scales);
  }
  template <int kPart>
  __device__ static void add_part(Products<T, kTokens>& sums, int part, const GroupSums<kPart>& products,
                                  uint32_t scales) {
#pragma unroll
    for (int i = 0; i < kPart / 2; ++i) {
      float& sum = sums[part * kPart / 2 + i];
      if (kWeight == Weight24::kInt4) {
        sum = fmaf(__uint_as_float(i & 2 ? scales & 0xffff0000 : scales << 16), products[i], sum);
      } else {
        sum += products[i];
      }
    }
  }

  __device__ void wait_for_weights() {
    ptx::barrier_wait(shared_ + L::weights_full(weights_.slot), weights_.parity);
  }
  __device__ uint32_t tile() const {
    return shared_ + L::kWeights + weights_.slot * L::kWeightBytes +
           (2 * role_.group + (role_.warp >> 1)) * L::kTileBytes;
  }
  __device__ uint32_t load_scales() const {
    return kWeight == Weight24::kInt4 ? load_scales_int4(tile(), role_.warp & 1, role_.lane) : 0;
  }
  // Once products are issued, which have their registers: only then are the loads over for certain, and the
  // slot may be written.
  __device__ void release_weights() {
    ptx::barrier_arrive(shared_ + L::weights_empty(weights_.slot));  // every lane for its own
    weights_.advance();
  }

  // The next slot of x, or the one after it, in the same tile.
  static_assert(L::kXSlots % 2 == 0);  // so that both come in the same round of the ring
  __device__ void wait_for_x(int next) { ptx::barrier_wait(shared_ + L::x_full(x_.slot + next), x_.parity); }
  __device__ uint64_t operand(int next) const {
    return ptx::descriptor_128(shared_ + L::kX + (x_.slot + next) * L::kXBytes);
  }
  // Both, when the last products that were begun are over, and the first of them already before, if these are
  // two groups.
  template <bool kByHalves>
  __device__ void release_tile_x() {
    ptx::wgmma_wait<kByHalves ? 1 : 0>();
    release_x(x_.slot);
    ptx::wgmma_wait<0>();
    release_x(x_.slot + 1);
    x_.advance(), x_.advance();
  }
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
    stream.multiply(products, place.count);
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
  // The feeders find their place by themselves: kept for them too, it costs the others registers, or uniform
  // ones.
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
        bring_weights<kWeight, kTokens>(args, Place(args), shared, feeder);
      } else {
        bring_x<kWeight, kTokens>(args, Place(args), &x_map, shared, feeder - 2);
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
  return kernel_of<kWeight, T, 256>();
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
  return power(plan.tile_tokens, 256) && plan.tile_tokens >= 16 && power(plan.share, 4) &&
         plan.tile_tokens >= 8 * plan.share && plan.split >= 1 && plan.share * plan.split <= 8 &&
         plan.split <= tiles_along24(matrix.cols, tile_cols24(matrix.weight));
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
