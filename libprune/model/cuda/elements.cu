#include "libprune/model/cuda/elements.h"

#include <algorithm>
#include <cmath>

#include "libprune/model/cuda/launch.h"

namespace prune::gpu {
namespace {

constexpr int kWarp = 32;

__device__ void load_8(const Bf16* from, float (&v)[8]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(from);
  const Bf16* eight = reinterpret_cast<const Bf16*>(&bits);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = float(eight[i]);
}
__device__ void load_8(const float* from, float (&v)[8]) {
  const float4 low = reinterpret_cast<const float4*>(from)[0],
               high = reinterpret_cast<const float4*>(from)[1];
  v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
  v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}
template <class T>
__device__ void add_8(const T* from, float (&v)[8]) {
  float more[8];
  load_8(from, more);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] += more[i];
}
__device__ void store_8(Bf16* to, const float (&v)[8]) {
  uint4 bits;
  Bf16* eight = reinterpret_cast<Bf16*>(&bits);
#pragma unroll
  for (int i = 0; i < 8; ++i) eight[i] = Bf16(v[i]);
  *reinterpret_cast<uint4*>(to) = bits;
}
__device__ void store_8(float* to, const float (&v)[8]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(v[0], v[1], v[2], v[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

__device__ float sum_of_warp(float v) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
  return v;
}

// Sums of a thread block, the same in every thread. `storage` is not to be in use.
__device__ float sum_of_block(float v, float* storage) {
  v = sum_of_warp(v);
  if (threadIdx.x % kWarp == 0) storage[threadIdx.x / kWarp] = v;
  __syncthreads();
  v = threadIdx.x % kWarp < blockDim.x / kWarp ? storage[threadIdx.x % kWarp] : 0;
  return sum_of_warp(v);
}

__global__ void embed_kernel(const Bf16* table, const int32_t* ids, int width, float scale, float* hidden) {
  follow_previous();
  const Bf16* from = table + int64_t(ids[blockIdx.x]) * width;
  float* to = hidden + int64_t(blockIdx.x) * width;
  for (int c = 8 * int(threadIdx.x); c < width; c += 8 * int(blockDim.x)) {
    float v[8];
    load_8(from + c, v);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] *= scale;
    store_8(to + c, v);
  }
}

// A thread keeps the first eight of its elements, which are all up to a width of 8192; what it keeps and the
// weights for them need not be read again.
__global__ void norm_kernel(const NormCall call) {
  __shared__ float storage[kWarp];
  allow_next();
  const int first = 8 * int(threadIdx.x), step = 8 * int(blockDim.x);
  const int64_t row = call.rows ? call.rows[blockIdx.x] : blockIdx.x;
  float kept[8] = {}, weight[8] = {}, squares = 0;
  if (first < call.width) load_8(call.weight + first, weight);
  wait_for_previous();
  float* hidden = call.hidden + row * call.width;
  for (int c = first; c < call.width; c += step) {
    float v[8];
    load_8(hidden + c, v);
    if (call.y) {
      add_8(call.y + row * call.width + c, v);
      if (call.bias) add_8(call.bias + c, v);
      store_8(hidden + c, v);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      squares = fmaf(v[i], v[i], squares);
      if (c == first) kept[i] = v[i];
    }
  }
  squares = sum_of_block(squares, storage);
  const float scale = 1 / sqrtf(squares / float(call.width) + call.epsilon);
  Bf16* x = call.x + int64_t(blockIdx.x) * call.width;
  for (int c = first; c < call.width; c += step) {
    if (c != first) {
      load_8(hidden + c, kept);  // what this thread wrote
      load_8(call.weight + c, weight);
    }
    float v[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = kept[i] * scale * weight[i];
    store_8(x + c, v);
  }
}

constexpr int kHeadWarps = 4;
constexpr int kMostHeadDim = 256;

// A warp has one head of one token.
__global__ void heads_kernel(const HeadsCall call) {
  __shared__ float buffers[kHeadWarps][kMostHeadDim];
  follow_previous();
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp, dim = call.head_dim;
  const int head = int(blockIdx.y) * kHeadWarps + warp;
  if (head >= call.heads + 2 * call.kv_heads) return;
  const bool is_query = head < call.heads, is_key = !is_query && head < call.heads + call.kv_heads;
  Bf16* own = call.qkv + (int64_t(blockIdx.x) * (call.heads + 2 * call.kv_heads) + head) * dim;
  float* v = buffers[warp];
  float squares = 0;
  for (int i = lane; i < dim; i += kWarp) {
    v[i] = float(own[i]) + (call.bias ? call.bias[head * dim + i] : 0);
    squares = fmaf(v[i], v[i], squares);
  }
  const float* norm = is_query ? call.q_norm : is_key ? call.k_norm : nullptr;
  if (norm) {
    const float scale = 1 / sqrtf(sum_of_warp(squares) / float(dim) + call.epsilon);
    for (int i = lane; i < dim; i += kWarp) v[i] = v[i] * scale * norm[i];
  }
  __syncwarp();
  const TokenPlace place = call.places[blockIdx.x];
  for (int i = lane; i < call.half && (is_query || is_key); i += kWarp) {
    const float c = call.cos[int64_t(place.position) * call.half + i];
    const float s = call.sin[int64_t(place.position) * call.half + i];
    const float a = v[i], b = v[i + call.half];
    v[i] = a * c - b * s;
    v[i + call.half] = b * c + a * s;
  }
  __syncwarp();
  Bf16* to = own;
  if (!is_query) {
    const int kv = head - call.heads - (is_key ? 0 : call.kv_heads);
    to = (is_key ? call.cache.keys : call.cache.values) +
         (place.begin * call.kv_heads + int64_t(kv) * place.capacity + place.position) * dim;
  }
  for (int i = lane; i < dim; i += kWarp) to[i] = Bf16(v[i]);
}

// As decoder/feed_forward.h has them.
__device__ float act(Activation activation, float x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + expf(-x));
    case Activation::kGelu:
      return 0.5f * x * (1 + erff(x * 0.70710678f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case Activation::kRelu:
      return x < 0 ? 0 : x;
  }
  return x;
}

__global__ void activate_kernel(Activation activation, const Bf16* expanded, const float* bias, int inner,
                                Bf16* out) {
  follow_previous();
  const int c = 8 * int(blockIdx.y * blockDim.x + threadIdx.x);
  if (c >= inner) return;
  const Bf16* from = expanded + int64_t(blockIdx.x) * 2 * inner;
  float gate[8], up[8];
  load_8(from + c, gate);
  load_8(from + inner + c, up);
  if (bias) {
    add_8(bias + c, gate);
    add_8(bias + inner + c, up);
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) gate[i] = act(activation, gate[i]) * up[i];
  store_8(out + int64_t(blockIdx.x) * inner + c, gate);
}

struct Largest {
  float value;
  int column;
  bool finite;

  __device__ void take(const Largest& other) {
    finite = finite && other.finite;
    if (other.value > value || (other.value == value && other.column < column))
      value = other.value, column = other.column;
  }
};

// Of one row, for the first warp.
__device__ Largest largest_of_block(const float* row, int columns, Largest* storage) {
  Largest best{-INFINITY, columns, true};
  for (int c = int(threadIdx.x); c < columns; c += int(blockDim.x))
    best.take({row[c], c, bool(isfinite(row[c]))});
  const auto reduce = [&best] {
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) {
      best.take({__shfl_xor_sync(~0u, best.value, step), __shfl_xor_sync(~0u, best.column, step),
                 __shfl_xor_sync(~0u, int(best.finite), step) != 0});
    }
  };
  reduce();
  if (threadIdx.x % kWarp == 0) storage[threadIdx.x / kWarp] = best;
  __syncthreads();
  const int lane = int(threadIdx.x) % kWarp;
  best = lane < int(blockDim.x) / kWarp ? storage[lane] : Largest{-INFINITY, columns, true};
  reduce();
  return best;
}

constexpr int kLogitThreads = 1024;

__global__ void largest_kernel(const LogitRows rows, int32_t* ids) {
  __shared__ Largest storage[kWarp];
  follow_previous();
  const Largest best =
      largest_of_block(rows.logits + int64_t(blockIdx.x) * rows.stride, rows.columns, storage);
  if (threadIdx.x == 0) ids[blockIdx.x] = best.finite ? best.column : -1;
}

__global__ void loss_kernel(const LogitRows rows, const int32_t* targets, float* losses) {
  __shared__ Largest storage[kWarp];
  __shared__ float sums[kWarp];
  follow_previous();
  const float* row = rows.logits + int64_t(blockIdx.x) * rows.stride;
  const int target = targets[blockIdx.x];
  const Largest best = largest_of_block(row, rows.columns, storage);
  float sum = 0;
  for (int c = int(threadIdx.x); c < rows.columns; c += int(blockDim.x)) sum += expf(row[c] - best.value);
  sum = sum_of_block(sum, sums);
  if (threadIdx.x != 0) return;
  const float loss = target < 0 ? 0 : best.value + logf(sum) - row[target];
  losses[blockIdx.x] = best.finite ? loss : NAN;
}

// Enough for a row in pieces of eight, in whole warps.
int threads_for(int width) { return std::min(1024, (width / 8 + kWarp - 1) / kWarp * kWarp); }

}  // namespace

void embed(const Bf16* table, const int32_t* ids, int n, int width, float scale, float* hidden,
           cudaStream_t stream) {
  launch_after(embed_kernel, dim3(unsigned(n)), threads_for(width), stream, table, ids, width, scale, hidden);
}

void add_and_norm(const NormCall& call, int n, cudaStream_t stream) {
  launch_after(norm_kernel, dim3(unsigned(n)), threads_for(call.width), stream, call);
}

void place_heads(const HeadsCall& call, int n, cudaStream_t stream) {
  const int heads = call.heads + 2 * call.kv_heads;
  launch_after(heads_kernel, dim3(unsigned(n), unsigned((heads + kHeadWarps - 1) / kHeadWarps)),
               kHeadWarps * kWarp, stream, call);
}

void activate_and_multiply(Activation activation, const Bf16* expanded, const float* bias, int n, int inner,
                           Bf16* out, cudaStream_t stream) {
  constexpr int kThreads = 128;
  const auto blocks = unsigned((inner / 8 + kThreads - 1) / kThreads);
  launch_after(activate_kernel, dim3(unsigned(n), blocks), kThreads, stream, activation, expanded, bias,
               inner, out);
}

void find_largest(const LogitRows& rows, int n, int32_t* ids, cudaStream_t stream) {
  launch_after(largest_kernel, dim3(unsigned(n)), kLogitThreads, stream, rows, ids);
}

void lose(const LogitRows& rows, const int32_t* targets, int n, float* losses, cudaStream_t stream) {
  launch_after(loss_kernel, dim3(unsigned(n)), kLogitThreads, stream, rows, targets, losses);
}

}  // namespace prune::gpu
