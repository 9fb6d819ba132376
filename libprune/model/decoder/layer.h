// The weights of one decoder layer.
#pragma once

#include <cstdint>
#include <vector>

#include "libprune/model/decoder/attention.h"
#include "libprune/model/decoder/config.h"
#include "libprune/model/decoder/feed_forward.h"
#include "libprune/model/decoder/linear.h"
#include "libprune/model/decoder/norm.h"

namespace prune {

struct DecoderLayer {
  const DecoderConfig* config = nullptr;
  int64_t index = 0;

  Norm attention_norm;
  std::vector<Linear> qkv;  // fused or not: outputs side by side, q before k before v
  Norm q_norm, k_norm;      // of each head; may not exist
  Linear output;            // of attention

  Norm feed_forward_norm;
  Linear router;                     // [experts, width] of a mixture of experts, else without weights
  std::vector<FeedForward> experts;  // one for a layer without a router

  AttentionShape attention_shape() const;
  // Every linear layer but the router, in the order of computation.
  std::vector<Linear*> linears();
  std::vector<const Linear*> linears() const;
};

}  // namespace prune
