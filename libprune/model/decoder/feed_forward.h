// The feed-forward half of a decoder layer, or one expert of it.
#pragma once

#include <cstdint>
#include <vector>

#include "libprune/model/decoder/config.h"
#include "libprune/model/decoder/linear.h"
#include "libprune/model/float_matrix.h"

namespace prune {

struct FeedForward {
  std::vector<Linear> expanding;  // fused or not: outputs side by side, gate before up
  Linear contracting;
};

// inner[i, c] = act(expanded[i, c]) expanded[i, inner_width + c] when gated, else act(expanded[i, c]).
void activate(Activation activation, bool is_gated, const FloatMatrix& expanded, int64_t inner_width,
              FloatMatrix& inner);

// act(x), in place on n values.
void apply_activation(Activation activation, float* x, int64_t n);

}  // namespace prune
