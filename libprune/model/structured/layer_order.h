// Which layers a model misses least.
#pragma once

#include <cstdint>

#include "libprune/model/calibrated/calibration_text.h"
#include "libprune/model/decoder/decoder.h"
#include "libprune/model/structured/cut.h"
#include "libprune/model/structured/structured_options.h"

namespace prune {

// The first `count` layers to go, in that order. By their norm: those of the smallest mean square of weights.
// By their energy: those that turn the hidden state least, of the largest mean cosine of input and output
// (Men et al., "ShortGPT", arXiv 2403.03853). By their loss: one after another, each time the layer without
// which the loss of predicting the text is least; every candidate is tried, on a few sequences. Throws
// Interrupted.
Units layers_to_remove(const Decoder& decoder, const CalibrationText& text, UnitScore score, int64_t count);

}  // namespace prune
