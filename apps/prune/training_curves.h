// The loss and the sparsity of a training, drawn.
#pragma once

#include <string>

#include <prune/report.h>

namespace prune::app {

// A part of a page: what was trained in words, and two curves over the steps as inline SVG.
std::string training_curves(const TrainingReport& training);

}  // namespace prune::app
