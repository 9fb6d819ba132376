// Calibration text that the model writes itself, where there is little to read: what is drawn from a language
// model is near enough to what it was trained on that layers fitted to it hold on other text too, as
// Williams and Aletras show (Self-calibration for Language Model Quantization and Pruning, arXiv:2410.17170).
#pragma once

#include "libprune/model/calibrated/calibration_text.h"
#include "libprune/model/decoder/decoder.h"

namespace prune {

// The sequences of options.file, then options.own_samples that the dense model continues to the same length,
// drawn by its probabilities: each begins with up to kOwnPrompt tokens from a random place of the first ones.
// Throws what load_corpus(), choose_sequences() and generate() throw. While it writes, the whole model is in
// memory, with a cache for a few sequences.
inline constexpr int64_t kOwnPrompt = 64;
CalibrationText read_calibration_text(const Decoder& decoder, const CalibrationOptions& options);

}  // namespace prune
