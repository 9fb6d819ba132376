#include "libprune/model/calibrated/calibration_text.h"

#include <algorithm>
#include <string>

#include <prune/error.h>

#include "libprune/io/text.h"
#include "libprune/io/token_ids.h"
#include "libprune/io/tokenizer.h"

namespace prune {
namespace {

constexpr int64_t kUsualLength = 2048;

}  // namespace

uint64_t draw(std::mt19937_64& random, uint64_t n) {
  const uint64_t fair = n * (std::mt19937_64::max() / n);
  uint64_t value = random();
  while (value >= fair) value = random();
  return value % n;
}

int64_t calibration_length(const CalibrationOptions& options, const DecoderConfig& config) {
  const int64_t most = config.max_positions > 0 ? config.max_positions : kUsualLength;
  const int64_t length = options.length.value_or(std::min(most, kUsualLength));
  if (length >= 2 && length <= most) return length;
  throw_usage("--seqlen " + std::to_string(length) + ": expected 2 to " + std::to_string(most) +
              ", what the model was made for");
}

size_t tokens_to_read(const CalibrationOptions& options, const DecoderConfig& config) {
  if (options.seed || options.samples < 1) return Tokenizer::kNoLimit;
  return size_t(options.samples * calibration_length(options, config));
}

CalibrationText choose_sequences(const std::vector<int32_t>& text, const CalibrationOptions& options,
                                 const DecoderConfig& config) {
  CalibrationText chosen{
      .ids = {}, .samples = options.samples, .length = calibration_length(options, config)};
  if (chosen.samples < 1) throw_usage("--samples " + std::to_string(chosen.samples) + ": expected 1 or more");
  const std::string where = shown(options.file);
  const auto have = int64_t(text.size());
  if (chosen.samples > have / chosen.length) {
    throw_input(where + ": holds " + std::to_string(have) + " tokens, too few for " +
                std::to_string(chosen.samples) + " sequences of " + std::to_string(chosen.length) +
                "; give more text, or less --samples or --seqlen");
  }
  check_token_ids(text, config.vocabulary, where);
  std::mt19937_64 random(options.seed.value_or(0));
  for (int64_t s = 0; s < chosen.samples; ++s) {
    const int64_t begin =
        options.seed ? int64_t(draw(random, uint64_t(have - chosen.length + 1))) : s * chosen.length;
    chosen.ids.insert(chosen.ids.end(), text.begin() + begin, text.begin() + begin + chosen.length);
  }
  return chosen;
}

}  // namespace prune
