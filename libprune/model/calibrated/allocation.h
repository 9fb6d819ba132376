// How the sparsity of a model is shared out over its matrices before the first is pruned.
#pragma once

#include <map>
#include <span>
#include <string>

#include "libprune/model/calibrated/calibration_text.h"
#include "libprune/model/decoder/decoder.h"
#include "libprune/model/decoder/rope.h"
#include "libprune/model/prune_plan.h"

namespace prune {

// The sparsity of each tensor to prune, by name. All but uniform run the dense model on the text once: OWL
// counts the outliers of score::wanda() in every decoder layer (allocate::owl with the paper's settings), and
// kError prunes each matrix by Wanda to a few sparsities and shares out by the relative errors of their
// outputs (allocate::by_error). The total is exact where a layer shares its sparsity, and rounded down in
// every row where rows do. `hidden` [samples * length, width] is working memory. Throws Error(kUsage) as
// allocate::owl() and by_error(), Error(kInput) for inputs that are not finite, naming the layer that reads
// them, and Interrupted.
std::map<std::string, double> allocate_sparsity(const Decoder& decoder, const PrunePlan& plan,
                                                const CalibrationText& text, const RopeTable& rope,
                                                std::span<float> hidden);

}  // namespace prune
