#include "libprune/model/calibrated/own_text.h"

#include <algorithm>
#include <random>
#include <vector>

#include "libprune/io/corpus.h"
#include "libprune/model/runtime/generation.h"
#include "libprune/model/runtime/prepared_decoder.h"

namespace prune {
namespace {

constexpr int64_t kAtOnce = 64;                      // sequences that grow together, at most
constexpr uint64_t kCacheBytes = uint64_t(1) << 30;  // of all of them

int64_t sequences_at_once(const DecoderConfig& config, int64_t length) {
  const auto each = uint64_t(2 * length * config.layers * config.kv_heads * config.head_dim) * sizeof(float);
  return std::clamp<int64_t>(int64_t(kCacheBytes / std::max<uint64_t>(1, each)), 1, kAtOnce);
}

void write_own_text(const Checkpoint& checkpoint, const CalibrationOptions& options, CalibrationText& text) {
  // Products of many rows, whatever is faster here: the same seed writes the same text.
  const PreparedDecoder model(checkpoint, {.dense_from = 1});
  const int64_t read = text.samples * text.length, prompt = std::min(kOwnPrompt, text.length / 2);
  const int64_t at_once = sequences_at_once(model.config(), text.length);
  std::mt19937_64 random(options.seed.value_or(0));
  for (int64_t left = options.own_samples; left > 0; left -= at_once) {
    std::vector<std::vector<int32_t>> prompts;
    for (int64_t i = 0; i < std::min(at_once, left); ++i) {
      const auto begin = text.ids.begin() + int64_t(draw(random, uint64_t(read - prompt + 1)));
      prompts.emplace_back(begin, begin + prompt);
    }
    const Generation written =
        generate(model, prompts,
                 {.new_tokens = text.length - prompt, .sampling = {.temperature = 1, .seed = random()}});
    for (size_t i = 0; i < prompts.size(); ++i) {
      text.ids.insert(text.ids.end(), prompts[i].begin(), prompts[i].end());
      text.ids.insert(text.ids.end(), written.ids[i].begin(), written.ids[i].end());
    }
  }
  text.samples += options.own_samples;
}

}  // namespace

CalibrationText read_calibration_text(const Decoder& decoder, const CalibrationOptions& options) {
  const DecoderConfig& config = decoder.config();
  const Checkpoint& checkpoint = decoder.checkpoint();
  CalibrationText text = choose_sequences(
      load_corpus(options.file, checkpoint.path(), {.max_tokens = tokens_to_read(options, config)}), options,
      config);
  if (options.own_samples > 0) write_own_text(checkpoint, options, text);
  return text;
}

}  // namespace prune
