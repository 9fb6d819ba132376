#include "libprune/model/structured/structured_memory.h"

#include <algorithm>

#include "libprune/model/calibrated/calibration_text.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/teams.h"

namespace prune {
namespace {

constexpr uint64_t kFloat = sizeof(float);

struct ProjectionBytes {
  uint64_t moments = 0, solver = 0;
};

// Moments [in, in] and correction [out, in]. Least squares take 3 and 4 matrices of these sizes; columns that
// go one by one are chosen in doubles, 9 and 8.
ProjectionBytes projection_bytes(int64_t out, int64_t in, int64_t experts, bool follows, bool is_chosen) {
  const auto square = uint64_t(in * in) * kFloat, matrix = uint64_t(out * in) * kFloat;
  return {uint64_t(experts) * (square + (follows ? matrix : 0)),
          is_chosen ? 9 * square + 8 * matrix : 3 * square + 4 * matrix};
}

// Of weights that change, in the file's types, as large as they stay.
uint64_t changed_bytes(const Checkpoint& checkpoint, const DecoderConfig& config,
                       const StructuredMethod& method, const ModelShape& shape, bool follows) {
  if (!method.refits) return 0;
  uint64_t bytes = 0, parameters = 0;
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    for (const TensorInfo& tensor : shard.tensors()) {
      bytes += tensor.size_bytes();
      parameters += uint64_t(tensor.numel());
    }
  }
  const LayerSize& size = shape.size;
  const auto layers = uint64_t(shape.layers);
  const auto projections =
      uint64_t(config.width * (size.heads * config.head_dim + size.experts * size.channels));
  const uint64_t changed =
      method.reconstructs || follows ? uint64_t(layer_parameters(resized(config, size))) : projections;
  return layers * changed * bytes / parameters;
}

}  // namespace

MemoryEstimate estimate_memory(const Checkpoint& checkpoint, const StructuredOptions& options,
                               const ModelShape& shape) {
  const CalibrationOptions& calibration = options.calibration;
  const StructuredMethod& method = find_structured_method(options.method);
  const DecoderConfig config = read_decoder_config(checkpoint);
  const int64_t length = calibration_length(calibration, config);
  const bool follows = method.refits && calibration.follow.value_or(1) > 0;
  const bool crosses_gaps = follows && shape.layers < config.layers && !config.norms_after;

  MemoryEstimate estimate;
  const uint64_t stream = uint64_t(calibration.sequences() * length * config.width) * kFloat;
  const uint64_t streams = 1 + uint64_t(follows) + (method.reconstructs ? 2 : uint64_t(crosses_gaps));
  estimate.states = streams * stream;
  for (uint64_t s = 0, left = calibration.memory; s < streams; ++s)
    stream <= left ? left -= stream : estimate.spilled += stream;
  estimate.pruned = changed_bytes(checkpoint, config, method, shape, follows);
  estimate.spilled += estimate.pruned;
  // Dense and as it is left. Of two that are trained also two moments, the weights before, and rounded, and
  // for each team of threads gradients.
  const int64_t trained = std::min(calibration.batch, calibration.sequences());
  estimate.layers =
      (method.reconstructs ? 11 + 2 * uint64_t(Teams::count_for(trained, 2 * layer_bytes(config))) : 2) *
      layer_bytes(config);

  const bool chooses = method.score == UnitScore::kLoss && shape.size.channels < config.inner;
  const auto attention = projection_bytes(config.width, config.context_width(), 1, follows, false);
  const auto feed_forward = projection_bytes(config.width, config.inner, config.experts, follows, chooses);
  estimate.moments = std::max(attention.moments, feed_forward.moments);
  estimate.solver = std::max(attention.solver, feed_forward.solver);
  const uint64_t batch = activation_bytes(config, length);
  const bool tries =
      method.score == UnitScore::kLoss && (shape.size.heads < config.heads || shape.layers < config.layers);
  estimate.batch = (1 + uint64_t(follows) + (tries ? 2 : 0)) * batch;
  if (method.reconstructs) {  // kept by two layers, and the gradients of one
    estimate.batch += 3 * batch * uint64_t(trained) / uint64_t(batch_sequences(length)) +
                      backward_sum_bytes(config, length);
  }
  estimate.program = uint64_t(40) << 20;
  return estimate;
}

}  // namespace prune
