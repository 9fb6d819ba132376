// What a pass over a model holds at once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "libprune/model/decoder/config.h"

namespace prune {

// Sequences that go through a layer together: enough tokens for the products to run at full speed.
int64_t batch_sequences(int64_t seqlen);

// Bytes of one decoder layer's weights as floats, all experts included.
size_t layer_bytes(const DecoderConfig& config);
// Bytes of what forward_layer() keeps for one batch, probabilities of attention included.
size_t activation_bytes(const DecoderConfig& config, int64_t seqlen);

// Bytes of the sums that attend_backward() keeps apart for its threads, at most.
size_t backward_sum_bytes(const DecoderConfig& config, int64_t seqlen);

// Windows whose hidden states fit into `memory` beside a layer, its activations and a slice of the head; at
// least one.
int64_t windows_in(size_t memory, const DecoderConfig& config, int64_t seqlen);

}  // namespace prune
