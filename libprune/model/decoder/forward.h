// The forward pass of one decoder layer, and of its parts.
//
//   n = norm(x);  q, k, v = rope(norm_head(n Wqkv));  m = x + attend(q, k, v) Wo
//   y = m + contract(act(expand(norm(m))))
// With config.norms_after, the norms come after the sums instead.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "libprune/model/decoder/layer.h"
#include "libprune/model/decoder/rope.h"
#include "libprune/model/decoder/sequences.h"
#include "libprune/model/float_matrix.h"

namespace prune {

// Told of every X [n, in], contiguous, and of the linear layers that are about to read it.
using InputObserver = std::function<void(std::span<const Linear> readers, const float* x, int64_t n)>;

struct FeedForwardActivations {
  std::vector<int64_t> tokens;  // of the batch, that a router sent here; not used without one
  std::vector<float> shares;    // the router's weight of this expert for each of them
  FloatMatrix input;            // their rows; not used without a router
  FloatMatrix expanded;         // [n, expanded_width]
  FloatMatrix inner;            // [n, inner], after the activation: what the contracting layer reads
  FloatMatrix output;           // [n, width]
};

// What a layer computed on the way, kept for its backward pass. Memory is reused by the next batch.
struct LayerActivations {
  FloatMatrix attention_input;     // [n, width], normalised: what q, k and v read
  FloatMatrix qkv_plain;           // [n, qkv_width] before norms of heads; only where there are such norms
  FloatMatrix qkv;                 // [n, qkv_width], q and k normalised and rotated
  FloatMatrix context;             // [n, heads * head_dim]: what the output layer reads
  FloatMatrix attention_sum;       // [n, width], x + attention, before a norm that comes after
  FloatMatrix middle;              // [n, width], the hidden state between the halves
  FloatMatrix feed_forward_input;  // [n, width], normalised
  FloatMatrix router_shares;       // [n, experts] softmax over the chosen experts, 0 for the others
  std::vector<FeedForwardActivations> experts;
  FloatMatrix feed_forward_sum;  // [n, width], middle + feed-forward, before a norm that comes after
};

// y [n, width] = layer(x [n, width]) for n = sequences.tokens(). x and y may be the same memory. `rope` must
// cover the longest sequence. Runs on all OpenMP threads.
void forward_layer(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences,
                   const float* x, float* y, LayerActivations& activations,
                   const InputObserver& observer = {});

// The parts, in their order. Each reads what the ones before it left in `activations`.
void forward_qkv(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences, const float* x,
                 LayerActivations& activations, const InputObserver& observer);
void forward_attention(const DecoderLayer& layer, const Sequences& sequences, const float* x,
                       LayerActivations& activations, const InputObserver& observer);
// The second half of forward_attention(), from activations.context on.
void forward_attention_output(const DecoderLayer& layer, const float* x, LayerActivations& activations,
                              const InputObserver& observer);
void forward_feed_forward(const DecoderLayer& layer, LayerActivations& activations, float* y,
                          const InputObserver& observer);

}  // namespace prune
