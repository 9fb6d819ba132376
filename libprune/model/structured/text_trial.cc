#include "libprune/model/structured/text_trial.h"

#include "libprune/model/structured/text_loss.h"

namespace prune {
namespace {

constexpr int64_t kTokens = 16384;

}  // namespace

TextTrial::TextTrial(const Decoder& decoder, const CalibrationText& text, int64_t samples)
    : decoder_(decoder),
      length_(text.length),
      samples_(std::min(samples, std::max<int64_t>(1, kTokens / text.length))),
      ids_(text.sequences(0, samples_)),
      rope_(decoder.config().rope, text.length) {}

FloatMatrix TextTrial::embedded() const {
  FloatMatrix hidden(tokens(), decoder_.config().width);
  decoder_.embed(ids_, Sequences(samples_, length_), hidden.data());
  return hidden;
}

void TextTrial::pass(int64_t index, const FloatMatrix& from, FloatMatrix& to) {
  const DecoderLayer layer = decoder_.load_layer(index);
  for_each_batch([&](int64_t row, const Sequences& sequences) {
    forward_layer(layer, rope_, sequences, from.row(row), to.row(row), activations_);
  });
}

double TextTrial::loss_after(std::span<const int64_t> layers, FloatMatrix& hidden) {
  for (const int64_t layer : layers) pass(layer, hidden, hidden);
  return text_loss(decoder_, ids_, length_, hidden.data());
}

}  // namespace prune
