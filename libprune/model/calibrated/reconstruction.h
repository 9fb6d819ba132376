// Layer reconstruction: after decoder layers have been pruned, the weights that stay are trained until one
// layer, or a few consecutive ones together, give what is wanted of them.
//
//   minimise  sum |layers(x) - t|^2 / sum |t - x|^2   over the kept weights
//
// by Adam, over calibration sequences x and their targets t. Least squares on one weight matrix at a time
// cannot see that the matrices of a layer make up for each other, nor one layer for the one before; this can.
// No loss of the language model is involved, so these layers are all that is in memory. Each sequence of a
// step goes through them with a team of threads of its own, as far as there are threads. Compare BRECQ (Li et
// al., arXiv:2102.05426), which does so for quantisation.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <prune/mask.h>

#include "libprune/model/decoder/layer.h"
#include "libprune/model/decoder/rope.h"

namespace prune {

struct ReconstructionOptions {
  int64_t steps = 200;
  int64_t batch = 2;                       // sequences a step
  double learning_rate = 4e-4;             // falls to 0 along half a cosine
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
// for sequence s; it is called from several threads at once.
struct ReconstructionData {
  int64_t count = 0;
  int64_t length = 0;
  std::function<void(int64_t s, float* x, float* t)> read;
};

struct ReconstructedLayer {
  DecoderLayer& layer;
  // Of layer.linears(), in that order; weights that they prune must be 0, and stay so. A linear layer whose
  // mask is empty is not trained, nor are routers.
  std::vector<Mask> masks;
};

// Trains consecutive layers together: x enters the first, t is wanted of the last. Where the last weights are
// no better than the first, the layers are left as they were. Calls `progress` after each step, from which
// Interrupted may be thrown. Throws Error(kInput) when the loss is not finite.
ReconstructionResult reconstruct_layers(std::span<const ReconstructedLayer> layers, const RopeTable& rope,
                                        const ReconstructionData& data, const ReconstructionOptions& options,
                                        const std::function<void(int64_t step)>& progress = {});

}  // namespace prune
