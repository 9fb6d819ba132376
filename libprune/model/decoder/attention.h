// Causal softmax attention.
#pragma once

#include <cstdint>

#include "libprune/model/decoder/sequences.h"
#include "libprune/model/gemm.h"

namespace prune {

inline constexpr int64_t kQueryBlock = 128;   // queries whose probabilities are held together
inline constexpr int64_t kPartsOfThread = 4;  // that the backward pass deals out where heads do not share out

struct AttentionShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;  // query head h reads key and value head h / (heads / kv_heads)
  int64_t head_dim = 0;
  float scale = 1;
  int64_t window = 0;                     // keys that a query sees, its own included; 0: all up to its own
  Precision precision = Precision::kF32;  // of the products

  int64_t qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
};

// A row of scores to probabilities: softmax of the keys [low, high), zeros elsewhere.
void masked_softmax(float* row, int64_t low, int64_t high, int64_t keys);

// A row of qkv [tokens, qkv_width] holds the queries, keys and values of one token, head by head:
// context[t, h * head_dim ...] = sum_j p_j v_j for every head of every token; context is [tokens, heads *
// head_dim]. Holds one block of probabilities a thread: O(length) memory.
void attend(const AttentionShape& shape, const Sequences& sequences, const float* qkv, float* context);

}  // namespace prune
