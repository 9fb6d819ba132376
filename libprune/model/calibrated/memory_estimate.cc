#include "libprune/model/calibrated/memory_estimate.h"

#include <algorithm>

#include "libprune/model/calibrated/calibration_text.h"
#include "libprune/model/calibrated/layer_method.h"
#include "libprune/model/decoder/config.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/teams.h"

namespace prune {
MemoryEstimate estimate_memory(const Checkpoint& checkpoint, const PrunePlan& plan) {
  constexpr uint64_t kFloat = sizeof(float);
  const CalibrationOptions& options = plan.options.calibration;
  const LayerMethod& method = *find_layer_method(plan.options.method);
  const DecoderConfig config = read_decoder_config(checkpoint);
  const int64_t length = calibration_length(options, config);
  const bool follows = method.follows_dense && options.follow.value_or(1) > 0;
  const uint64_t streams = 1 + uint64_t(follows) + (method.reconstructs ? 2 : 0);
  const auto square = [](int64_t n) { return uint64_t(n * n) * kFloat; };

  MemoryEstimate estimate;
  const uint64_t stream = uint64_t(options.sequences() * length * config.width) * kFloat;
  estimate.states = streams * stream;
  uint64_t largest = 0, widest = 0, left = options.memory;
  const auto take = [&](uint64_t bytes) { bytes <= left ? left -= bytes : estimate.spilled += bytes; };
  for (uint64_t s = 0; s < streams; ++s) take(stream);
  for (const PlannedTensor& tensor : plan.tensors) {
    if (!tensor.prune) continue;
    const uint64_t bytes = checkpoint.tensor(tensor.ref).size_bytes();
    estimate.pruned += bytes;
    largest = std::max(largest, uint64_t(tensor.out * tensor.in) * kFloat);
    widest = std::max(widest, square(tensor.in));
  }
  estimate.spilled += estimate.pruned;
  const int64_t trained = std::min(options.batch, options.sequences());
  // Each team of threads has gradients of two layers; weights are there rounded, too.
  const uint64_t copies = method.reconstructs
                              ? 11 + 2 * uint64_t(Teams::count_for(trained, 2 * layer_bytes(config)))
                          : follows && options.true_sequential ? 2
                                                               : 1;
  estimate.layers = copies * layer_bytes(config);
  const uint64_t sites = square(config.width) + square(config.context_width()) +
                         uint64_t(config.experts) * (square(config.width) + square(config.inner));
  estimate.moments = (follows ? 2 : 1) * sites;
  // Of the hidden state with what is added to it, see InputMoments::lacking().
  if (follows)
    estimate.moments +=
        uint64_t(config.width * (config.context_width() + (config.has_experts() ? 0 : config.inner))) *
        kFloat;
  const uint64_t batch = activation_bytes(config, length);
  estimate.batch = (follows ? 2 : 1) * batch;
  if (method.reconstructs) {
    // Kept by two layers, and the gradients of one.
    estimate.batch += 3 * batch * uint64_t(trained) / uint64_t(batch_sequences(length)) +
                      backward_sum_bytes(config, length);
  }
  estimate.solver = method.damping > 0 ? 6 * largest + 3 * widest : 4 * largest;
  estimate.program = uint64_t(40) << 20;
  return estimate;
}

}  // namespace prune
