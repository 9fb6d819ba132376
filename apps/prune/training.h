// The options of commands that train.
#pragma once

#include <string>

#include "apps/prune/command_line.h"
#include "libprune/model/prune_plan.h"

namespace prune::app {

// --train, --teacher and all that goes with them, but --steps, --seqlen and --seed, which others have too.
void add_training_options(CommandLine& line);
// --steps, --seqlen and --seed, for a command whose other options don't bring them.
void add_training_length_options(CommandLine& line);
// How masks are found while training.
void add_mask_options(CommandLine& line);

// Throws Error(kUsage) for values that are none.
TrainedPruning read_training(const CommandLine& line);
TrainedMaskOptions read_masks(const CommandLine& line);

// Whether a method trains layers one by one, and so has a use for --batch and --learning-rate.
enum class TrainsLayers : bool { kNo, kYes };
// Throws Error(kUsage) where one of them is given to a method that does not train the model.
void refuse_training_options(const CommandLine& line, const std::string& method, TrainsLayers trains_layers);

}  // namespace prune::app
