// Causal softmax attention over a cache on the GPU, grouped heads:
//
//   context[i, h] = sum_j p_j v_j,   p = softmax_j(scale q_i,h . k_j)
//
// over the positions j up to the token's own, with a window only the last `window` of them. Queries are in
// qkv [n, (heads + 2 kv_heads) head_dim], keys and values in the cache already (elements.h). Products in
// bfloat16, sums in single precision; equal inputs give equal bits.
#pragma once

#include "libprune/model/cuda/elements.h"

namespace prune::gpu {

inline constexpr int kMostAttentionDim = 128;  // of a head; a multiple of 8

struct AttentionCall {
  const Bf16* qkv = nullptr;
  CacheView cache = {};
  Bf16* context = nullptr;  // [n, heads head_dim]
  int heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 1;
  int window = 0;  // 0: none
};

// How one token of every sequence attends: thread blocks that share the keys of a head. By the longest
// sequence's room, not by how far it is; where there are no thread-block clusters (before compute capability
// 9.0) always 1.
int decode_splits(const AttentionCall& call, int n, int64_t most_tokens, int multiprocessors);

// Row i is the token at heads.places[i], each of another sequence. Does place_heads() on the way, in the same
// kernel where half % 8 == 0; queries need not come back to qkv. Earlier positions' keys and values must be
// in the cache since the host last waited for the stream.
void attend_decoding(const AttentionCall& call, const HeadsCall& heads, int n, int splits,
                     cudaStream_t stream);

// Queries that a thread block takes together.
inline constexpr int kQueryTile = 64;
struct QueryTile {
  TokenPlace place;  // of the first query
  int32_t row;
  int32_t count;  // at most kQueryTile, of one sequence
};
// Each row of the batch is in one of the tiles (device memory).
void attend_prefilling(const AttentionCall& call, const QueryTile* tiles, int count, cudaStream_t stream);

}  // namespace prune::gpu
