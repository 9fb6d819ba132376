#include "libprune/model/runtime/prepared_decoder.h"

#include "libprune/io/staging.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/runtime/session.h"

namespace prune {

PreparedDecoder::PreparedDecoder(const Checkpoint& checkpoint, const RuntimeOptions& options,
                                 const Progress& progress)
    : decoder_(checkpoint) {
  LinearProducts products(decoder_.tensors(), options);
  const ProductFactory factory = [&](const auto&... arguments) { return products.make(arguments...); };
  ProgressCounter counter(progress, uint64_t(config().layers));
  for (int64_t i = 0; i < config().layers; ++i) {
    check_interrupted();
    layers_.push_back(decoder_.load_layer(i, factory));
    counter.add(1, decoder_.layer_name(i));
  }
  final_norm_ = decoder_.load_final_norm();
  head_ = products.make(decoder_.head_name(), Orientation::kOutIn, config().vocabulary, config().width, {});
  if (config().family->positions == PositionKind::kLearned) positions_ = decoder_.load_positions();
  prepared_ = products.prepared();
  seconds_ = seconds_since(began_);
}

std::unique_ptr<RunningSequences> PreparedDecoder::start(const std::vector<int64_t>& lengths,
                                                         int64_t chunk) const {
  return std::make_unique<Session>(*this, lengths, chunk);
}

void PreparedDecoder::embed(std::span<const int32_t> ids, std::span<const int64_t> positions,
                            float* hidden) const {
  const int64_t width = config().width;
  for (size_t i = 0; i < ids.size(); ++i) {
    float* row = hidden + int64_t(i) * width;
    decoder_.load_embedding_rows(ids[i], 1, row);
    const float* position =
        positions_.empty() ? nullptr : positions_.row(positions[i] + config().family->position_offset);
    for (int64_t c = 0; c < width; ++c)
      row[c] = row[c] * config().embedding_scale + (position == nullptr ? 0 : position[c]);
  }
}

void PreparedDecoder::project_to_vocabulary(float* hidden, int64_t n, float* logits) const {
  if (final_norm_.exists()) final_norm_.apply(hidden, hidden, n);
  head_->run(hidden, config().width, logits, config().vocabulary, n);
}

}  // namespace prune
