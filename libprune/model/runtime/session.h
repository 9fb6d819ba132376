// Sequences that grow token by token through one decoder, each with its cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libprune/model/decoder/forward.h"
#include "libprune/model/runtime/layer_cache.h"
#include "libprune/model/runtime/prepared_decoder.h"

namespace prune {

// The next tokens of one sequence.
struct NextTokens {
  size_t sequence = 0;
  std::span<const int32_t> ids;
  bool wants_logits = true;
};

class Session {
 public:
  // One sequence for each of `lengths`, of at most so many tokens. `chunk`: the most tokens of a run().
  Session(const PreparedDecoder& model, const std::vector<int64_t>& lengths, int64_t chunk);

  // Appends tokens, at least one to each sequence named and to none twice. Gives the logits [wanted,
  // vocabulary] after the last token of those that want them, valid until the next run. A batch of other size
  // may take other kernels, which round in another order. Throws Error(kInput) for ids outside the vocabulary
  // and activations that are not finite, naming the layer; Error(kUsage) for a sequence that becomes too
  // long, or too many tokens; Interrupted. After a throw the session is of no more use.
  const FloatMatrix& run(std::span<const NextTokens> next);

  int64_t length(size_t sequence) const { return ends_[sequence]; }
  // Memory of all caches when full.
  size_t cache_bytes() const;

 private:
  void check(std::span<const NextTokens> next) const;
  void embed(std::span<const NextTokens> next);
  const FloatMatrix& logits_of_last(std::span<const NextTokens> next, const Sequences& rows);

  const PreparedDecoder& model_;
  std::vector<int64_t> lengths_;
  std::vector<int64_t> ends_;
  int64_t chunk_;
  RopeTable rope_;
  std::vector<std::vector<LayerCache>> caches_;  // [layer][sequence]
  FloatMatrix hidden_, last_, logits_;
  LayerActivations activations_;
};

}  // namespace prune
