#include "libprune/model/calibrated/memory_estimate.h"

#include <algorithm>

#include "libprune/model/calibrated/calibrated_pruner.h"

namespace prune {
namespace {

// Floats that the forward pass of a layer keeps of each token.
int64_t floats_of_token(const DecoderConfig& config) {
  const int64_t of_experts = config.expanded_width() + config.inner + 2 * config.width;
  return 6 * config.width + config.qkv_width() + config.context_width() +
         std::max<int64_t>(config.experts_per_token, 1) * of_experts;
}

int64_t weights_of_layer(const DecoderConfig& config) {
  return config.width * (config.qkv_width() + config.context_width()) +
         config.experts * config.width * (config.expanded_width() + config.inner);
}

}  // namespace

MemoryEstimate estimate_memory(const Checkpoint& checkpoint, const PrunePlan& plan) {
  constexpr uint64_t kFloat = sizeof(float);
  const CalibrationOptions& options = plan.options.calibration;
  const LayerMethod& method = *find_layer_method(plan.options.method);
  const DecoderConfig config = read_decoder_config(checkpoint);
  const int64_t length = calibration_length(options, config);
  const bool follows = method.follows_dense && options.follow.value_or(1) > 0;
  const uint64_t streams = 1 + uint64_t(follows) + uint64_t(method.reconstructs);
  const auto square = [](int64_t n) { return uint64_t(n * n) * kFloat; };

  MemoryEstimate estimate;
  const uint64_t stream = uint64_t(options.samples * length * config.width) * kFloat;
  estimate.states = streams * stream;
  uint64_t largest = 0, widest = 0, left = options.memory;
  const auto take = [&](uint64_t bytes) { bytes <= left ? left -= bytes : estimate.spilled += bytes; };
  for (uint64_t s = 0; s < streams; ++s) take(stream);
  for (const PlannedTensor& tensor : plan.tensors) {
    if (!tensor.prune) continue;
    const uint64_t bytes = checkpoint.tensor(tensor.ref).size_bytes();
    estimate.pruned += bytes;
    take(bytes);
    largest = std::max(largest, uint64_t(tensor.out * tensor.in) * kFloat);
    widest = std::max(widest, square(tensor.in));
  }
  const uint64_t copies = method.reconstructs ? 6 : follows && options.true_sequential ? 2 : 1;
  estimate.layers = copies * uint64_t(weights_of_layer(config)) * kFloat;
  const uint64_t sites = square(config.width) + square(config.context_width()) +
                         uint64_t(config.experts) * (square(config.width) + square(config.inner));
  estimate.moments = (follows ? 2 : 1) * sites;
  const int64_t batch = sequences_at_once(length) * length;
  estimate.batch = (follows ? 2 : 1) * uint64_t(batch * floats_of_token(config)) * kFloat;
  if (method.reconstructs) {
    constexpr int64_t kTrained = 8;  // sequences a step, with gradients of all that the forward pass keeps
    estimate.batch += 2 * uint64_t(kTrained * length * floats_of_token(config)) * kFloat;
  }
  estimate.solver = 6 * largest + 3 * widest;
  estimate.program = uint64_t(32) << 20;
  return estimate;
}

}  // namespace prune
