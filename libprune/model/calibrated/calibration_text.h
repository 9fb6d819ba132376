// The token sequences that calibration runs through a model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "libprune/model/calibrated/calibration_options.h"
#include "libprune/model/decoder/config.h"

namespace prune {

// Sequences of one length, one after another.
struct CalibrationText {
  std::vector<int32_t> ids;
  int64_t samples = 0;
  int64_t length = 0;

  std::span<const int32_t> sequences(int64_t first, int64_t count) const {
    return {ids.data() + first * length, size_t(count * length)};
  }
};

// Tokens a sequence: as asked for, or the model's maximum but at most 2048. Throws Error(kUsage) for less
// than 2, or more than the model can take.
int64_t calibration_length(const CalibrationOptions& options, const DecoderConfig& config);

// How much of a text is needed: without a seed its beginning, with one all of it.
size_t tokens_to_read(const CalibrationOptions& options, const DecoderConfig& config);

// `options.samples` sequences of `text`: without a seed the first ones, next to each other; with one, from
// places drawn at random (std::mt19937_64, uniform, may overlap). Throws Error(kInput) when the text is
// shorter than all of them together or holds an id beyond the vocabulary, Error(kUsage) for less than one
// sequence.
CalibrationText choose_sequences(const std::vector<int32_t>& text, const CalibrationOptions& options,
                                 const DecoderConfig& config);

// Uniform in [0, n), the same with every standard library.
uint64_t draw(std::mt19937_64& random, uint64_t n);

}  // namespace prune
