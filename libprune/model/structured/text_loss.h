// How well a model predicts calibration text from its last hidden states.
#pragma once

#include <cstdint>
#include <span>

#include "libprune/model/decoder/decoder.h"

namespace prune {

// Mean negative log-likelihood, in nats, of all tokens of sequences of one length but their first. `hidden`
// [ids.size(), width] is the output of the last layer and is used up.
double text_loss(const Decoder& decoder, std::span<const int32_t> ids, int64_t length, float* hidden);

}  // namespace prune
