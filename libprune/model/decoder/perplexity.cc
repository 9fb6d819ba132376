#include "libprune/model/decoder/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
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

// Layer by layer on the processor, each layer's weights loaded when it is its turn.
class LayerByLayer final : public WindowLosses {
 public:
  LayerByLayer(const Decoder& decoder, size_t memory, const ProductFactory& products)
      : decoder_(decoder), memory_(memory), products_(products) {}

  int64_t windows_at_once(int64_t seqlen) const override {
    return windows_in(memory_, decoder_.config(), seqlen);
  }
  uint64_t counts_of_token() const override { return uint64_t(decoder_.config().layers) + 1; }

  void run(int64_t seqlen, std::span<const int32_t> ids, std::span<const int32_t> targets,
           std::span<float> losses, ProgressCounter& counter) override {
    if (!rope_ || rope_->length() != seqlen) rope_.emplace(decoder_.config().rope, seqlen);
    const Sequences windows(int64_t(ids.size()) / seqlen, seqlen);
    hidden_.resize(int64_t(ids.size()), decoder_.config().width);
    decoder_.embed(ids, windows, hidden_.data());
    for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) forward(layer, windows, counter);
    cross_entropy(decoder_, hidden_.data(), targets, losses);
    counter.add(targets.size(), "head");
  }

 private:
  void forward(int64_t index, const Sequences& windows, ProgressCounter& counter) {
    const DecoderLayer layer = decoder_.load_layer(index, products_);
    const std::string name = decoder_.layer_name(index);
    const int64_t seqlen = rope_->length(), batch = batch_sequences(seqlen);
    for (int64_t first = 0; first < windows.count(); first += batch) {
      check_interrupted();
      const Sequences sequences(std::min(batch, windows.count() - first), seqlen);
      float* hidden = hidden_.row(first * seqlen);
      forward_layer(layer, *rope_, sequences, hidden, hidden, activations_);
      require_finite(hidden, sequences.tokens() * decoder_.config().width, name);
      counter.add(uint64_t(sequences.tokens()), name);
    }
  }

  const Decoder& decoder_;
  size_t memory_;
  const ProductFactory& products_;
  std::optional<RopeTable> rope_;
  FloatMatrix hidden_;
  LayerActivations activations_;
};

// Ids of windows, and what each predicts: -1 where that was predicted before, or lies beyond the window.
struct Chunk {
  std::vector<int32_t> ids, targets;
};

Chunk chunk_of(std::span<const int32_t> ids, const Perplexity& plan, int64_t first, int64_t count) {
  Chunk chunk;
  for (int64_t w = first; w < first + count; ++w) {
    const int64_t begin = w * plan.stride, end = begin + plan.seqlen;
    const int64_t predicted_before = w == 0 ? 0 : begin - plan.stride + plan.seqlen;
    for (int64_t t = begin; t < end; ++t) {
      chunk.ids.push_back(ids[size_t(t)]);
      const bool counts = t + 1 < end && t + 1 >= predicted_before;
      chunk.targets.push_back(counts ? ids[size_t(t + 1)] : -1);
    }
  }
  return chunk;
}

}  // namespace

int64_t default_seqlen(const DecoderConfig& config) { return std::min<int64_t>(2048, config.max_positions); }

Perplexity plan_windows(const DecoderConfig& config, int64_t tokens, const PerplexityOptions& options) {
  Perplexity plan;
  plan.seqlen = options.seqlen == 0 ? default_seqlen(config) : options.seqlen;
  plan.stride = options.stride == 0 ? plan.seqlen : options.stride;
  if (plan.seqlen < 2)
    throw_usage("sequence length " + std::to_string(plan.seqlen) + ": expected at least 2");
  if (plan.stride < 1 || plan.stride > plan.seqlen) {
    throw_usage("stride " + std::to_string(plan.stride) + ": expected 1 to the sequence length, " +
                std::to_string(plan.seqlen));
  }
  if (tokens < plan.seqlen) {
    throw_input("the text has " + std::to_string(tokens) + " tokens, less than one sequence of " +
                std::to_string(plan.seqlen) + ": give a longer text or a shorter sequence");
  }
  plan.windows = (tokens - plan.seqlen) / plan.stride + 1;
  plan.tokens = plan.windows * plan.seqlen;
  plan.left_out = tokens - ((plan.windows - 1) * plan.stride + plan.seqlen);
  // A window after the first predicts its `stride` new tokens; its first only as far as it is no overlap.
  const int64_t later = std::min(plan.stride, plan.seqlen - 1);
  plan.predictions = plan.seqlen - 1 + (plan.windows - 1) * later;
  return plan;
}

Perplexity measure_perplexity(const DecoderConfig& config, std::span<const int32_t> ids,
                              const PerplexityOptions& options, WindowLosses& losses,
                              const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  Perplexity result = plan_windows(config, int64_t(ids.size()), options);
  check_token_ids(ids, config.vocabulary, "the text");
  const int64_t at_once = std::min(result.windows, losses.windows_at_once(result.seqlen));
  ProgressCounter counter(progress, uint64_t(result.tokens) * losses.counts_of_token());
  std::vector<float> chunk_losses;
  double sum = 0;
  for (int64_t first = 0; first < result.windows; first += at_once) {
    const Chunk chunk = chunk_of(ids, result, first, std::min(at_once, result.windows - first));
    chunk_losses.resize(chunk.ids.size());
    losses.run(result.seqlen, chunk.ids, chunk.targets, chunk_losses, counter);
    double chunk_sum = 0;
    for (const float loss : chunk_losses) chunk_sum += double(loss);
    sum += chunk_sum;
  }
  result.nats = sum / double(result.predictions);
  result.perplexity = std::exp(result.nats);
  result.seconds = seconds_since(start);
  return result;
}

Perplexity measure_perplexity(const Decoder& decoder, std::span<const int32_t> ids,
                              const PerplexityOptions& options, const Progress& progress,
                              const ProductFactory& products) {
  const ThreadCount threads(options.threads);
  LayerByLayer losses(decoder, options.memory, products);
  return measure_perplexity(decoder.config(), ids, options, losses, progress);
}

}  // namespace prune
