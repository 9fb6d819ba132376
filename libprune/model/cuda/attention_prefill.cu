// Attention of many tokens: tensor cores, a tile of keys after another with a running softmax (Dao,
// FlashAttention-2, arXiv:2307.08691). A warp has 16 queries; probabilities go from the sums of one product
// to the operands of the next in their registers.
#include "libprune/model/cuda/attention.h"
#include "libprune/model/cuda/launch.h"

namespace prune::gpu {
namespace {

namespace ptx = kernels::cuda::ptx;

constexpr int kThreads = 128;
constexpr int kKeyTile = 64;
constexpr int kPad = 8;  // elements between rows of a tile, so that eight rows lie in different banks
constexpr float kLog2E = 1.44269504f;

struct Arguments {
  AttentionCall call;
  const QueryTile* tiles;
};

template <int kDim>
using KeyTile = Bf16[kKeyTile][kDim + kPad];

// Positions [first, first + kKeyTile) of a head; zeros from `end` on, and beside the head's elements.
template <int kDim>
__device__ void load_tile(const Bf16* from, int first, int end, int head_dim, KeyTile<kDim>& to) {
  constexpr int kPieces = kDim / 8;
  for (int i = int(threadIdx.x); i < kKeyTile * kPieces; i += kThreads) {
    const int row = i / kPieces, column = i % kPieces * 8;
    uint4 bits = make_uint4(0, 0, 0, 0);
    if (first + row < end && column < head_dim)
      bits = *reinterpret_cast<const uint4*>(from + int64_t(first + row) * head_dim + column);
    *reinterpret_cast<uint4*>(&to[row][column]) = bits;
  }
}

// Two 8 x 16 pieces of the transposed matrix [row, column..]: operands of two products.
__device__ void load_transposed_x4(uint32_t address, uint2& low, uint2& high) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(low.x), "=r"(low.y), "=r"(high.x), "=r"(high.y)
               : "r"(address)
               : "memory");
}

__device__ uint32_t pair_of(float a, float b) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// A warp's 16 queries. In the layout of mma m16n8k16, lane 4 g + t has rows g and g + 8.
template <int kDim>
struct Queries {
  uint4 q[kDim / 16];
  float context[kDim / 8][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};  // of base 2
  int row, t;                                                  // of the tile; within the quad

  __device__ void load(const Bf16* from, int64_t stride, int count, int head_dim) {
    const auto word = [&](int r, int c) {
      return r < count && c < head_dim ? *reinterpret_cast<const uint32_t*>(from + r * stride + c) : 0u;
    };
#pragma unroll
    for (int s = 0; s < kDim / 16; ++s) {
      const int c = 16 * s + 2 * t;
      q[s] = make_uint4(word(row, c), word(row + 8, c), word(row, c + 8), word(row + 8, c + 8));
    }
  }

  // scores[j / 8] of keys j..: scaled, of base 2, and minus infinity where a query does not see the key.
  __device__ void score(const KeyTile<kDim>& keys, int first_key, int position, int window, float scale,
                        float (&scores)[kKeyTile / 8][4]) const {
    const int g = row % 8;
#pragma unroll
    for (int j = 0; j < kKeyTile / 8; ++j) {
      float sums[4] = {};
#pragma unroll
      for (int s = 0; s < kDim / 16; ++s) {
        const Bf16* key = &keys[8 * j + g][16 * s + 2 * t];
        ptx::mma_16x8x16<Bf16>(
            sums, q[s],
            make_uint2(*reinterpret_cast<const uint32_t*>(key), *reinterpret_cast<const uint32_t*>(key + 8)));
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = first_key + 8 * j + 2 * t + i % 2, own = position + row + i / 2 * 8;
        const bool sees = key <= own && (window == 0 || key > own - window);
        scores[j][i] = sees ? sums[i] * scale : -INFINITY;
      }
    }
  }

  // Scores become probabilities, up to the factor that `sum` will give in the end.
  __device__ void normalise(float (&scores)[kKeyTile / 8][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[half];
#pragma unroll
      for (int j = 0; j < kKeyTile / 8; ++j)
        most = fmaxf(most, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      const float base = most == -INFINITY ? 0 : most;
      const float before = exp2f(largest[half] - base);
      largest[half] = most;
      float added = 0;
#pragma unroll
      for (int j = 0; j < kKeyTile / 8; ++j) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[j][i] = exp2f(scores[j][i] - base);
          added += scores[j][i];
        }
      }
      sum[half] = sum[half] * before + added;
#pragma unroll
      for (int c = 0; c < kDim / 8; ++c) context[c][2 * half] *= before, context[c][2 * half + 1] *= before;
    }
  }

  __device__ void add_values(const float (&p)[kKeyTile / 8][4], const KeyTile<kDim>& values) {
    const int lane = int(threadIdx.x) % 32;
#pragma unroll
    for (int s = 0; s < kKeyTile / 16; ++s) {
      const uint4 a =
          make_uint4(pair_of(p[2 * s][0], p[2 * s][1]), pair_of(p[2 * s][2], p[2 * s][3]),
                     pair_of(p[2 * s + 1][0], p[2 * s + 1][1]), pair_of(p[2 * s + 1][2], p[2 * s + 1][3]));
#pragma unroll
      for (int c = 0; c < kDim / 16; ++c) {
        uint2 low, high;
        load_transposed_x4(ptx::shared_address(&values[16 * s + lane % 16][16 * c + lane / 16 * 8]), low,
                           high);
        ptx::mma_16x8x16<Bf16>(context[2 * c], a, low);
        ptx::mma_16x8x16<Bf16>(context[2 * c + 1], a, high);
      }
    }
  }

  __device__ void store(Bf16* to, int64_t stride, int count, int head_dim) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = sum[half];
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      const int r = row + 8 * half;
#pragma unroll
      for (int c = 0; c < kDim / 8; ++c) {
        if (r < count && 8 * c < head_dim) {
          *reinterpret_cast<uint32_t*>(to + r * stride + 8 * c + 2 * t) =
              pair_of(context[c][2 * half] / total, context[c][2 * half + 1] / total);
        }
      }
    }
  }
};

template <int kDim>
__global__ void __launch_bounds__(kThreads) prefill_kernel(const Arguments args) {
  __shared__ __align__(16) KeyTile<kDim> keys;
  __shared__ __align__(16) KeyTile<kDim> values;
  follow_previous();
  const AttentionCall& call = args.call;
  const QueryTile tile = args.tiles[gridDim.x - 1 - blockIdx.x];  // the last tiles have the most keys
  const int dim = call.head_dim, head = int(blockIdx.y), kv = head / (call.heads / call.kv_heads);
  const int64_t pool = (tile.place.begin * call.kv_heads + int64_t(kv) * tile.place.capacity) * dim;
  const int64_t stride = int64_t(call.heads + 2 * call.kv_heads) * dim;

  Queries<kDim> queries;
  const int lane = int(threadIdx.x) % 32;
  queries.row = int(threadIdx.x) / 32 * 16 + lane / 4;
  queries.t = lane % 4;
  queries.load(call.qkv + tile.row * stride + head * dim, stride, tile.count, dim);
  const int position = tile.place.position, end = position + tile.count;
  const int low = call.window > 0 ? max(0, position - call.window + 1) : 0;
  for (int first = low / kKeyTile * kKeyTile; first < end; first += kKeyTile) {
    __syncthreads();
    load_tile<kDim>(call.cache.keys + pool, first, end, dim, keys);
    load_tile<kDim>(call.cache.values + pool, first, end, dim, values);
    __syncthreads();
    float scores[kKeyTile / 8][4];
    queries.score(keys, first, position, call.window, call.scale * kLog2E, scores);
    queries.normalise(scores);
    queries.add_values(scores, values);
  }
  queries.store(call.context + (int64_t(tile.row) * call.heads + head) * dim, int64_t(call.heads) * dim,
                tile.count, dim);
}

}  // namespace

void attend_prefilling(const AttentionCall& call, const QueryTile* tiles, int count, cudaStream_t stream) {
  const Arguments args{call, tiles};
  const dim3 grid(unsigned(count), unsigned(call.heads));
  if (call.head_dim <= 32) {
    launch_after(prefill_kernel<32>, grid, kThreads, stream, args);
  } else if (call.head_dim <= 64) {
    launch_after(prefill_kernel<64>, grid, kThreads, stream, args);
  } else {
    launch_after(prefill_kernel<128>, grid, kThreads, stream, args);
  }
}

}  // namespace prune::gpu
