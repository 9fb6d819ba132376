// Attention of single tokens: latencies decide, and memory where sequences are long. A few lanes share a key,
// eight of its elements each; every group of lanes goes through keys of its own with a softmax of its own
// (Milakov and Gimelshein, arXiv:1805.02867), and the groups, warps and thread blocks put theirs together at
// the end. The first keys are fetched while the kernel before still makes the queries; these are normed and
// turned here, as is the token's own key, which its last block also puts into the cache.
#include <cooperative_groups.h>

#include <algorithm>

#include "libprune/model/cuda/attention.h"
#include "libprune/model/cuda/launch.h"

namespace prune::gpu {
namespace {

namespace ptx = kernels::cuda::ptx;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kAhead = 4;       // keys that a group takes together, while as many are on their way
constexpr int kLeastKeys = 64;  // of a block, that sharing a head's keys is worth
constexpr int kMostSplits = 8;  // a cluster has so many blocks everywhere

struct Arguments {
  AttentionCall call;
  HeadsCall heads;
  bool are_placed;  // by place_heads()
  int splits;
};

__device__ void widen(const uint4& bits, float (&v)[8]) {
  const Bf16* eight = reinterpret_cast<const Bf16*>(&bits);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = float(eight[i]);
}

// The softmax over some of the keys, eight elements of its weighted values: sum = sum_j exp(s_j - largest).
struct Part {
  float largest = -INFINITY, sum = 0, values[8] = {};

  __device__ void add(const float (&scores)[kAhead], const float (&v)[kAhead][8]) {
    float most = largest;
#pragma unroll
    for (int a = 0; a < kAhead; ++a) most = fmaxf(most, scores[a]);
    if (most == -INFINITY) return;  // no key yet
    const float before = __expf(largest - most);
    largest = most;
    sum *= before;
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] *= before;
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const float p = __expf(scores[a] - most);
      sum += p;
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] = fmaf(p, v[a][i], values[i]);
    }
  }

  // With that of the lane `step` away.
  __device__ void merge_lane(int step) {
    const float other_largest = __shfl_xor_sync(~0u, largest, step);
    const float other_sum = __shfl_xor_sync(~0u, sum, step);
    const float both = fmaxf(largest, other_largest);
    const float mine = both == -INFINITY ? 0 : __expf(largest - both);
    const float theirs = both == -INFINITY ? 0 : __expf(other_largest - both);
    largest = both;
    sum = sum * mine + other_sum * theirs;
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = values[i] * mine + __shfl_xor_sync(~0u, values[i], step) * theirs;
  }
};

__device__ void load_8(const float* from, float (&v)[8]) {
  const float4 low = reinterpret_cast<const float4*>(from)[0],
               high = reinterpret_cast<const float4*>(from)[1];
  v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
  v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}

// What a token's position does to eight elements of a head: element c < half goes with element c + half.
struct Turn {
  float cos[8], sin[8];
  int partner;  // lane of the warp that has the other ones
  float sign;   // of the other ones' sines; 0: elements that don't turn

  __device__ Turn(const HeadsCall& heads, int position, int column)
      : partner(int(threadIdx.x) % 32), sign(0) {
    if (column >= 2 * heads.half) return;
    const bool is_first = column < heads.half;
    sign = is_first ? -1 : 1;
    partner += is_first ? heads.half / 8 : -heads.half / 8;
    const int64_t at = int64_t(position) * heads.half + (is_first ? column : column - heads.half);
    load_8(heads.cos + at, cos);
    load_8(heads.sin + at, sin);
  }
  __device__ void apply(float (&v)[8]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float other = __shfl_sync(~0u, v[i], partner);
      if (sign != 0) v[i] = v[i] * cos[i] + sign * other * sin[i];
    }
  }
};

// Eight elements of one head of the row; zeros beside the head.
__device__ uint4 fetch_head(const HeadsCall& heads, int64_t row, int head, int column) {
  const int dim = heads.head_dim, all = heads.heads + 2 * heads.kv_heads;
  if (column >= dim) return make_uint4(0, 0, 0, 0);
  return *reinterpret_cast<const uint4*>(heads.qkv + (row * all + head) * dim + column);
}

// The same after bias, norm and turn.
template <int kLanes>
__device__ void place_head(const HeadsCall& heads, const uint4& bits, int head, int column, const float* norm,
                           const Turn& turn, bool turns, float (&v)[8]) {
  const int dim = heads.head_dim;
  widen(bits, v);
  if (heads.bias && column < dim) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] += heads.bias[head * dim + column + i];
  }
  if (norm) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) squares = fmaf(v[i], v[i], squares);
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) squares += __shfl_xor_sync(~0u, squares, step);
    const float scale = 1 / sqrtf(squares / float(dim) + heads.epsilon);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] *= column < dim ? scale * norm[column + i] : 0;
  }
  if (turns) turn.apply(v);
}

__device__ uint4 narrow(const float (&v)[8]) {
  uint4 bits;
  Bf16* eight = reinterpret_cast<Bf16*>(&bits);
#pragma unroll
  for (int i = 0; i < 8; ++i) eight[i] = Bf16(v[i]);
  return bits;
}

// Keys and values that a group takes together, every kGroups-th from `first` on; zeros from `end` on.
struct Keys {
  uint4 k[kAhead], v[kAhead];

  __device__ void load(const Bf16* keys, const Bf16* values, int first, int step, int end, int dim,
                       bool is_in) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int j = first + a * step;
      k[a] = v[a] = make_uint4(0, 0, 0, 0);
      if (j >= end || !is_in) continue;
      k[a] = *reinterpret_cast<const uint4*>(keys + int64_t(j) * dim);
      v[a] = *reinterpret_cast<const uint4*>(values + int64_t(j) * dim);
    }
  }
};

// Of several query heads on one head of keys; kLanes lanes a key.
template <int kHeads, int kLanes>
struct Scan {
  Part parts[kHeads];
  float q[kHeads][8];

  // One key, of this group or of another.
  __device__ void begin_with(const float (&k)[8], const float (&v)[8], bool is_own) {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float score = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) score = fmaf(q[h][i], k[i], score);
#pragma unroll
      for (int step = kLanes / 2; step > 0; step /= 2) score += __shfl_xor_sync(~0u, score, step);
      if (!is_own) continue;
      parts[h].largest = score, parts[h].sum = 1;
#pragma unroll
      for (int i = 0; i < 8; ++i) parts[h].values[i] = v[i];
    }
  }

  // The first `count` of the keys exist.
  __device__ void take(const Keys& keys, int count) {
    float v[kAhead][8];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) widen(keys.v[a], v[a]);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float scores[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        float k[8];
        widen(keys.k[a], k);
        scores[a] = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) scores[a] = fmaf(q[h][i], k[i], scores[a]);
      }
#pragma unroll
      for (int step = kLanes / 2; step > 0; step /= 2) {
#pragma unroll
        for (int a = 0; a < kAhead; ++a) scores[a] += __shfl_xor_sync(~0u, scores[a], step);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) scores[a] = a < count ? scores[a] : -INFINITY;
      parts[h].add(scores, v);
    }
  }
};

// What is known of one head: its elements, then the largest score and the sum of exponentials.
template <int kLanes>
struct HeadPart {
  static constexpr int kLargest = 8 * kLanes, kSum = kLargest + 1, kSize = kLargest + 2;
  float of[kSize];
};

// One number of the softmax over all of kCount parts, the first `count` of which are there.
template <int kLanes, int kCount, class PartAt>
__device__ float merged(int count, int number, const PartAt& part) {
  using Part = HeadPart<kLanes>;
  float largest = -INFINITY, sum = 0, value = 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) largest = fmaxf(largest, part(i).of[Part::kLargest]);
  }
  if (number == Part::kLargest) return largest;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i >= count) continue;
    const float weight = largest == -INFINITY ? 0 : __expf(part(i).of[Part::kLargest] - largest);
    sum += weight * part(i).of[Part::kSum];
    if (number < Part::kLargest) value += weight * part(i).of[number];
  }
  return number < Part::kLargest ? value : sum;
}

// The same memory of another block of the cluster.
template <class T>
__device__ T& at_block(T& own, int block) {
#if __CUDA_ARCH__ >= 900
  return *cooperative_groups::this_cluster().map_shared_rank(&own, unsigned(block));
#else
  return own;
#endif
}
// What blocks wrote to one another is there afterwards.
__device__ void meet_cluster() {
#if __CUDA_ARCH__ >= 900
  __syncwarp();
  cooperative_groups::this_cluster().sync();
#else
  __syncthreads();
#endif
}

// The parts of lanes, warps and blocks together, in their order, to the context. A block sends what it has of
// an element to the one that finishes it, kThreads elements each in turns.
template <int kHeads, int kLanes>
__device__ void finish(const Arguments& args, Scan<kHeads, kLanes>& scan, int heads, Bf16* context) {
  using Part = HeadPart<kLanes>;
  __shared__ Part of_warps[kWarps][kHeads];
  __shared__ Part received[kMostSplits][kHeads];
  const int dim = args.call.head_dim, warp = int(threadIdx.x) / 32, column = 8 * (int(threadIdx.x) % kLanes);
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int step = kLanes; step < 32; step *= 2) scan.parts[h].merge_lane(step);
    if (threadIdx.x % 32 >= kLanes) continue;
    Part& part = of_warps[warp][h];
#pragma unroll
    for (int i = 0; i < 8; ++i) part.of[column + i] = scan.parts[h].values[i];
    part.of[Part::kLargest] = scan.parts[h].largest;
    part.of[Part::kSum] = scan.parts[h].sum;
  }
  __syncthreads();
#if __CUDA_ARCH__ >= 900
  ptx::cluster_wait();  // all blocks have begun
#endif
  const int finishers = min(args.splits, (heads * dim + kThreads - 1) / kThreads);
  for (int e = int(threadIdx.x); e < heads * Part::kSize; e += kThreads) {
    const int h = e / Part::kSize, number = e % Part::kSize;
    if (number >= dim && number < Part::kLargest) continue;
    const float value =
        merged<kLanes, kWarps>(kWarps, number, [h](int w) -> const Part& { return of_warps[w][h]; });
    const int own = (h * dim + number) / kThreads % args.splits;
    const int first = number < dim ? own : 0, last = number < dim ? own + 1 : finishers;
    for (int block = first; block < last; ++block)
      at_block(received[blockIdx.z][h].of[number], block) = value;
  }
  meet_cluster();
  for (int e = int(blockIdx.z) * kThreads + int(threadIdx.x); e < heads * dim; e += args.splits * kThreads) {
    const int h = e / dim;
    const auto part = [h](int block) -> const Part& { return received[block][h]; };
    const float value = merged<kLanes, kMostSplits>(args.splits, e % dim, part);
    context[e] = Bf16(value / merged<kLanes, kMostSplits>(args.splits, Part::kSum, part));
  }
}

template <int kHeads, int kLanes>
__global__ void __launch_bounds__(kThreads) decode_kernel(const Arguments args) {
  constexpr int kGroups = kThreads / kLanes;
  allow_next();
#if __CUDA_ARCH__ >= 900
  ptx::cluster_arrive();  // this block has begun
#endif
  const AttentionCall& call = args.call;
  const HeadsCall& all = args.heads;
  const int dim = call.head_dim, sharing = call.heads / call.kv_heads;
  const int pieces = (sharing + kHeads - 1) / kHeads;  // of the heads that share keys
  const int piece = int(blockIdx.x) % pieces, kv = int(blockIdx.x) / pieces;
  const int head = kv * sharing + piece * kHeads, heads = min(kHeads, sharing - piece * kHeads);
  const int group = int(threadIdx.x) / kLanes, column = 8 * (int(threadIdx.x) % kLanes);
  const bool is_in = column < dim;
  const int64_t row = blockIdx.y;
  const TokenPlace place = all.places[row];
  const int64_t pool = (place.begin * call.kv_heads + int64_t(kv) * place.capacity) * dim + column;
  Bf16 *keys = call.cache.keys + pool, *values = call.cache.values + pool;

  // The keys before the token's own.
  const int low = call.window > 0 ? max(0, place.position - call.window + 1) : 0;
  const int count = place.position - low;
  const int begin = low + int(int64_t(count) * blockIdx.z / args.splits);
  const int end = low + int(int64_t(count) * (blockIdx.z + 1) / args.splits);
  const int rounds = (end - begin + kGroups - 1) / kGroups;  // equal in all groups
  Keys next;
  next.load(keys, values, begin + group, kGroups, end, dim, is_in);
  const Turn turn(all, args.are_placed ? 0 : place.position, args.are_placed ? 2 * all.half : column);
  wait_for_previous();

  const bool turns = !args.are_placed;
  uint4 raw[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) raw[h] = fetch_head(all, row, min(head + h, call.heads - 1), column);
  const int own_key = call.heads + kv, own_value = own_key + call.kv_heads;
  const uint4 raw_key = fetch_head(all, row, own_key, column);
  const uint4 raw_value = fetch_head(all, row, own_value, column);
  Scan<kHeads, kLanes> scan;
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    place_head<kLanes>(all, raw[h], min(head + h, call.heads - 1), column, turns ? all.q_norm : nullptr, turn,
                       turns, scan.q[h]);
#pragma unroll
    for (int i = 0; i < 8; ++i) scan.q[h][i] *= call.scale;
  }
  if (int(blockIdx.z) == args.splits - 1) {  // the token's own
    float k[8], v[8];
    if (turns) {
      place_head<kLanes>(all, raw_key, own_key, column, all.k_norm, turn, true, k);
      place_head<kLanes>(all, raw_value, own_value, column, nullptr, turn, false, v);
      const uint4 key = narrow(k), value = narrow(v);
      widen(key, k);  // as later tokens will see it
      widen(value, v);
      if (piece == 0 && group == 0 && is_in) {
        *reinterpret_cast<uint4*>(keys + int64_t(place.position) * dim) = key;
        *reinterpret_cast<uint4*>(values + int64_t(place.position) * dim) = value;
      }
    } else {
      const uint4 none = make_uint4(0, 0, 0, 0);
      widen(is_in ? *reinterpret_cast<const uint4*>(keys + int64_t(place.position) * dim) : none, k);
      widen(is_in ? *reinterpret_cast<const uint4*>(values + int64_t(place.position) * dim) : none, v);
    }
    scan.begin_with(k, v, group == 0);
  }
  for (int round = 0; round < rounds; round += kAhead) {
    const Keys now = next;
    const int first = begin + round * kGroups + group;
    next.load(keys, values, first + kAhead * kGroups, kGroups, end, dim, is_in);
    scan.take(now, (end - first + kGroups - 1) / kGroups);
  }
  finish(args, scan, heads, call.context + (row * call.heads + head) * dim);
}

// Query heads that a block takes: as many as share keys, at most 4, which the registers hold.
int heads_of_block(const AttentionCall& call) {
  const int sharing = call.heads / call.kv_heads;
  return sharing >= 3 ? 4 : sharing;
}
int blocks_of_row(const AttentionCall& call) {
  const int sharing = call.heads / call.kv_heads, heads = heads_of_block(call);
  return call.kv_heads * ((sharing + heads - 1) / heads);
}

template <int kHeads>
void launch(const Arguments& args, dim3 grid, cudaStream_t stream) {
  const int pieces = args.call.head_dim / 8;
  if (pieces <= 4) {
    launch_after(decode_kernel<kHeads, 4>, grid, kThreads, stream, Clusters::kAlongZ, args);
  } else if (pieces <= 8) {
    launch_after(decode_kernel<kHeads, 8>, grid, kThreads, stream, Clusters::kAlongZ, args);
  } else {
    launch_after(decode_kernel<kHeads, 16>, grid, kThreads, stream, Clusters::kAlongZ, args);
  }
}

}  // namespace

int decode_splits(const AttentionCall& call, int n, int64_t most_tokens, int multiprocessors) {
  if (!launches_dependently()) return 1;  // nor has it clusters
  const int64_t keys = call.window > 0 ? std::min<int64_t>(most_tokens, call.window) : most_tokens;
  const int64_t blocks = int64_t(n) * blocks_of_row(call);
  int splits = 1;
  while (splits < kMostSplits && keys >= 2 * splits * kLeastKeys && blocks * splits < multiprocessors)
    splits *= 2;
  return splits;
}

void attend_decoding(const AttentionCall& call, const HeadsCall& heads, int n, int splits,
                     cudaStream_t stream) {
  const bool turns_here = heads.half % 8 == 0;
  if (!turns_here) place_heads(heads, n, stream);
  Arguments args{call, heads, !turns_here, splits};
  if (!turns_here) args.heads.bias = nullptr;  // is added
  const dim3 grid(unsigned(blocks_of_row(call)), unsigned(n), unsigned(splits));
  switch (heads_of_block(call)) {
    case 1:
      return launch<1>(args, grid, stream);
    case 2:
      return launch<2>(args, grid, stream);
    default:
      return launch<4>(args, grid, stream);
  }
}

}  // namespace prune::gpu
