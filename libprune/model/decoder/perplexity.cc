#include "libprune/model/decoder/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include <prune/error.h>

#include "libprune/io/staging.h"
#include "libprune/io/token_ids.h"
#include "libprune/model/decoder/finite.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/decoder/head.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

// What is measured, and how far it is.
class Measurement {
 public:
  Measurement(const Decoder& decoder, std::span<const int32_t> ids, const Perplexity& plan,
              const Progress& progress, const ProductFactory& products)
      : decoder_(decoder),
        products_(products),
        ids_(ids),
        plan_(plan),
        rope_(decoder.config().rope, plan.seqlen),
        batch_(batch_sequences(plan.seqlen)),
        counter_(progress, uint64_t(plan.tokens * (decoder.config().layers + 1))) {}

  // Sum of the losses of windows [first, first + count).
  double run(int64_t first, int64_t count) {
    const int64_t width = decoder_.config().width;
    load(first, count);
    hidden_.resize(count * plan_.seqlen, width);
    decoder_.embed(chunk_ids_, Sequences(count, plan_.seqlen), hidden_.data());
    for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) forward(layer, count);
    losses_.resize(targets_.size());
    cross_entropy(decoder_, hidden_.data(), targets_, losses_);
    counter_.add(targets_.size(), "head");
    double sum = 0;
    for (const float loss : losses_) sum += double(loss);
    return sum;
  }

 private:
  // Ids of the chunk, and what each predicts: -1 where that was predicted before, or lies beyond the window.
  void load(int64_t first, int64_t count) {
    chunk_ids_.clear();
    targets_.clear();
    for (int64_t w = first; w < first + count; ++w) {
      const int64_t begin = w * plan_.stride, end = begin + plan_.seqlen;
      const int64_t predicted_before = w == 0 ? 0 : begin - plan_.stride + plan_.seqlen;
      for (int64_t t = begin; t < end; ++t) {
        chunk_ids_.push_back(ids_[size_t(t)]);
        const bool counts = t + 1 < end && t + 1 >= predicted_before;
        targets_.push_back(counts ? ids_[size_t(t + 1)] : -1);
      }
    }
  }

  void forward(int64_t index, int64_t count) {
    const DecoderLayer layer = decoder_.load_layer(index, products_);
    const std::string name = decoder_.layer_name(index);
    for (int64_t first = 0; first < count; first += batch_) {
      check_interrupted();
      const Sequences sequences(std::min(batch_, count - first), plan_.seqlen);
      float* hidden = hidden_.row(first * plan_.seqlen);
      forward_layer(layer, rope_, sequences, hidden, hidden, activations_);
      require_finite(hidden, sequences.tokens() * decoder_.config().width, name);
      counter_.add(uint64_t(sequences.tokens()), name);
    }
  }

  const Decoder& decoder_;
  const ProductFactory& products_;
  std::span<const int32_t> ids_;
  const Perplexity& plan_;
  RopeTable rope_;
  int64_t batch_;
  ProgressCounter counter_;
  std::vector<int32_t> chunk_ids_, targets_;
  std::vector<float> losses_;
  FloatMatrix hidden_;
  LayerActivations activations_;
};

Perplexity plan(const Decoder& decoder, int64_t ids, const PerplexityOptions& options) {
  Perplexity plan;
  plan.seqlen = options.seqlen == 0 ? default_seqlen(decoder.config()) : options.seqlen;
  plan.stride = options.stride == 0 ? plan.seqlen : options.stride;
  if (plan.seqlen < 2)
    throw_usage("sequence length " + std::to_string(plan.seqlen) + ": expected at least 2");
  if (plan.stride < 1 || plan.stride > plan.seqlen) {
    throw_usage("stride " + std::to_string(plan.stride) + ": expected 1 to the sequence length, " +
                std::to_string(plan.seqlen));
  }
  if (ids < plan.seqlen) {
    throw_input("the text has " + std::to_string(ids) + " tokens, less than one sequence of " +
                std::to_string(plan.seqlen) + ": give a longer text or a shorter sequence");
  }
  plan.windows = (ids - plan.seqlen) / plan.stride + 1;
  plan.tokens = plan.windows * plan.seqlen;
  plan.left_out = ids - ((plan.windows - 1) * plan.stride + plan.seqlen);
  // A window after the first predicts its `stride` new tokens; its first only as far as it is no overlap.
  const int64_t later = std::min(plan.stride, plan.seqlen - 1);
  plan.predictions = plan.seqlen - 1 + (plan.windows - 1) * later;
  return plan;
}

}  // namespace

int64_t default_seqlen(const DecoderConfig& config) { return std::min<int64_t>(2048, config.max_positions); }

Perplexity measure_perplexity(const Decoder& decoder, std::span<const int32_t> ids,
                              const PerplexityOptions& options, const Progress& progress,
                              const ProductFactory& products) {
  const auto start = std::chrono::steady_clock::now();
  const ThreadCount threads(options.threads);
  Perplexity result = plan(decoder, int64_t(ids.size()), options);
  check_token_ids(ids, decoder.config().vocabulary, "the text");
  const int64_t chunk = std::min(result.windows, windows_in(options.memory, decoder.config(), result.seqlen));
  Measurement measurement(decoder, ids, result, progress, products);
  double sum = 0;
  for (int64_t first = 0; first < result.windows; first += chunk) {
    sum += measurement.run(first, std::min(chunk, result.windows - first));
  }
  result.nats = sum / double(result.predictions);
  result.perplexity = std::exp(result.nats);
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace prune
