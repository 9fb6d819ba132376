// Sequences that grow token by token through one decoder, each with its cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libprune/model/decoder/forward.h"
#include "libprune/model/runtime/layer_cache.h"
#include "libprune/model/runtime/prepared_decoder.h"
#include "libprune/model/runtime/ready_model.h"

namespace prune {

// On the processor.
class Session final : public RunningSequences {
 public:
  // One sequence for each of `lengths`, of at most so many tokens. `chunk`: the most tokens of a run().
  Session(const PreparedDecoder& model, const std::vector<int64_t>& lengths, int64_t chunk);

  const FloatMatrix& run(std::span<const NextTokens> next) override;
  int64_t length(size_t sequence) const { return ends_[sequence]; }
  size_t cache_bytes() const override;

 private:
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
