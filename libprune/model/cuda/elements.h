// What a decoder does between its products, on the GPU. Streams of activations are bfloat16; the hidden state
// and all sums are single precision. Widths are multiples of 8 (of logits any), pointers 16-byte aligned.
// Calls queue work on the stream; nothing waits. Kernels are launched dependently where the device can
// (compute capability 9.0): each touches memory only after the one before it is over.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "libprune/model/decoder/config.h"

namespace prune::gpu {

using Bf16 = __nv_bfloat16;

// Where the keys and values of a row's sequence lie in a layer's pool, and where in the sequence it stands:
// those of head h and position p are at element (begin kv_heads + h capacity + p) head_dim.
struct alignas(16) TokenPlace {
  int64_t begin;     // tokens that the sequences before it have room for
  int32_t capacity;  // tokens that it has room for
  int32_t position;
};

// The pool of one layer.
struct CacheView {
  Bf16* keys;
  Bf16* values;
};

// hidden [n, width] = scale table[ids], table [.., width].
void embed(const Bf16* table, const int32_t* ids, int n, int width, float scale, float* hidden,
           cudaStream_t stream);

// h = hidden[rows[i]] + y[rows[i]] + bias, kept in hidden;  x[i] = h / sqrt(mean(h^2) + epsilon) weight, for
// i < n. Null: rows: 0, 1, ..; y and bias: nothing to add.
struct NormCall {
  float* hidden;
  const Bf16* y;
  const float* bias;
  const float* weight;
  float epsilon;
  int width;
  const int32_t* rows;
  Bf16* x;
};
void add_and_norm(const NormCall& call, int n, cudaStream_t stream);

// What q, k and v are before attention: qkv [n, (heads + 2 kv_heads) head_dim] plus bias, norms of heads
// where there are such, turned by their positions in the pairing of Hugging Face's models (decoder/rope.h).
// Queries go back to qkv, keys and values into the cache. head_dim up to 256.
struct HeadsCall {
  Bf16* qkv;
  const float* bias;             // [qkv width], or null
  const float *q_norm, *k_norm;  // [head_dim], or null
  float epsilon;
  const float *cos, *sin;  // [positions, half]
  int half;                // pairs that turn; 0: none
  int heads, kv_heads, head_dim;
  const TokenPlace* places;
  CacheView cache;
};
void place_heads(const HeadsCall& call, int n, cudaStream_t stream);

// inner[i, c] = act(expanded[i, c] + bias[c]) (expanded[i, inner + c] + bias[inner + c]); bias or null.
void activate_and_multiply(Activation activation, const Bf16* expanded, const float* bias, int n, int inner,
                           Bf16* out, cudaStream_t stream);

// Rows of logits [n, columns], `stride` elements apart; what lies between them is not read.
struct LogitRows {
  const float* logits;
  int columns;
  int64_t stride;
};

// ids[i] = the column of the largest of row i, the first of equal ones; -1 where one of them is not finite.
void find_largest(const LogitRows& rows, int n, int32_t* ids, cudaStream_t stream);

// losses[i] = log(sum_j exp(logits[i, j])) - logits[i, targets[i]]; 0 where targets[i] < 0, and NaN where a
// logit of a row is not finite.
void lose(const LogitRows& rows, const int32_t* targets, int n, float* losses, cudaStream_t stream);

}  // namespace prune::gpu
