// From the last hidden state to logits and losses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/float_matrix.h"

namespace prune {

// logits [n, vocabulary] = norm(hidden [n, width]) W^T.
FloatMatrix compute_logits(const Decoder& decoder, const float* hidden, int64_t n);

// loss[i] = -log softmax(logits_i)[targets[i]], in nats; where targets[i] < 0, 0. Holds neither the logits of
// all tokens nor the whole head: a few MB. `hidden` [n, width] is normalised in place.
void cross_entropy(const Decoder& decoder, float* hidden, std::span<const int32_t> targets,
                   std::span<float> loss);

// What cross_entropy() holds beside its arguments.
size_t head_bytes(const DecoderConfig& config);

}  // namespace prune
