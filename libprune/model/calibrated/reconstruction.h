// Layer reconstruction: after a decoder layer has been pruned, the weights that stay are trained until the
// whole layer gives what is wanted of it.
//
//   minimise  sum |layer(x) - t|^2 / sum |t - x|^2   over the kept weights
//
// by Adam, over calibration sequences x and their targets t. Least squares on one weight matrix at a time
// cannot see that the matrices of a layer make up for each other; this can. No loss of the language model is
// involved, so a layer is all that is in memory. Compare BRECQ (Li et al., arXiv:2102.05426), which does so
// for quantisation.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include <prune/mask.h>

#include "libprune/model/decoder/layer.h"
#include "libprune/model/decoder/rope.h"

namespace prune {

struct ReconstructionOptions {
  int64_t steps = 200;
  int64_t batch = 8;                       // sequences a step
  double learning_rate = 2e-4;             // falls to 0 along half a cosine
  bool trains_biases = false;              // of linear layers too, for a caller that stores them
  bool trains_norms = false;               // and norms
  uint64_t seed = 0;                       // of the order of sequences
  Precision precision = Precision::kBf16;  // of products; weights and their sums stay floats
};

struct ReconstructionResult {
  double error_before = 0;  // the loss, before the first step and after the last, on the same few sequences
  double error_after = 0;
  int64_t steps = 0;
};

// The calibration sequences: `count` of `length` tokens. read(s, x, t) fills x and t, both [length, width],
// for sequence s; it is called from one thread.
struct ReconstructionData {
  int64_t count = 0;
  int64_t length = 0;
  std::function<void(int64_t s, float* x, float* t)> read;
};

// `masks` of layer.linears(), in that order; weights that they prune must be 0, and stay so. A linear layer
// whose mask is empty is not trained, nor are routers. Where the last weights are no better than the first,
// the layer is left as it was. Calls `progress` after each step, from which Interrupted may be thrown. Throws
// Error(kInput) when the loss is not finite.
ReconstructionResult reconstruct_layer(DecoderLayer& layer, std::span<const Mask> masks,
                                       const RopeTable& rope, const ReconstructionData& data,
                                       const ReconstructionOptions& options,
                                       const std::function<void(int64_t step)>& progress = {});

}  // namespace prune
