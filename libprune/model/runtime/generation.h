// Text generation: prompts through the model in chunks, then a token of every sequence at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "libprune/model/runtime/ready_model.h"
#include "libprune/model/runtime/sampler.h"

namespace prune {

struct GenerationOptions {
  int64_t new_tokens = 128;  // at most, of each sequence
  SamplingOptions sampling = {};
  std::vector<int32_t> stop_ids = {};  // a sequence ends before one of these
  int64_t chunk = 512;  // most tokens that go through the model at once: bounds memory for activations
};

// A token of a sequence was chosen.
using TokenObserver = std::function<void(size_t sequence, int32_t id)>;

struct Generation {
  std::vector<std::vector<int32_t>> ids;  // new ones of each prompt, without stop ids
  std::vector<bool> stopped;              // by a stop id
  int64_t prompt_tokens = 0;              // of all prompts
  int64_t decoded_tokens = 0;             // that went through the model one at a time
  double prefill_seconds = 0;             // until the first token of every sequence is there
  double decode_seconds = 0;              // of the steps after that
  double first_token_seconds = 0;         // from the start to the first token of the first sequence
  size_t cache_bytes = 0;
};

// Tokens that each prompt grows to in its cache. Throws what generate() throws before it computes anything,
// but for ids and sampling.
std::vector<int64_t> cache_lengths(const DecoderConfig& config,
                                   const std::vector<std::vector<int32_t>>& prompts,
                                   const GenerationOptions& options);

// Throws Error(kUsage) for options that cannot be; Error(kInput) for no prompt or an empty one, ids outside
// the vocabulary, a prompt that with its new tokens is longer than the model's max_positions, packed weights
// at fault (before the first token is given), and activations that are not finite; Interrupted.
Generation generate(const ReadyModel& model, const std::vector<std::vector<int32_t>>& prompts,
                    const GenerationOptions& options, const TokenObserver& observer = {});

}  // namespace prune
