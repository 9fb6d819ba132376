// The forward pass of one decoder layer over the next tokens of sequences whose earlier tokens are in a
// cache.
#pragma once

#include <vector>

#include "libprune/model/decoder/forward.h"
#include "libprune/model/runtime/layer_cache.h"

namespace prune {

// forward_layer() of forward.h for tokens in the middle of their sequences: row i of sequence s of
// `sequences` is the token at position caches[s]->end() + i. Appends them to the caches. `rope` must cover
// all positions.
void forward_layer_cached(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences,
                          const std::vector<LayerCache*>& caches, const float* x, float* y,
                          LayerActivations& activations);

// context[t, ...] = attention of the queries in qkv, whose keys and values are the last ones of each cache.
void attend_cached(const AttentionShape& shape, const Sequences& sequences,
                   const std::vector<LayerCache*>& caches, const float* qkv, float* context);

}  // namespace prune
