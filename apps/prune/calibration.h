// The options of methods that look at what a model does with some text.
#pragma once

#include <string>

#include "apps/prune/command_line.h"
#include "libprune/model/calibrated/calibration_options.h"

namespace prune::app {

void add_calibration_options(CommandLine& line);
// Throws Error(kUsage) for values that are none.
CalibrationOptions read_calibration(const CommandLine& line);
// The words of --precision. Throws Error(kUsage) for bf16 where the processor has no products of it.
Precision parse_precision(const std::string& word);
// Whether a method has a use for --steps, --seqlen and --seed, since it trains.
enum class ShareTrainingOptions : bool { kNo, kYes };
// Throws Error(kUsage) where one of them is given to a method that has no use for it.
void refuse_calibration_options(const CommandLine& line, const std::string& method,
                                ShareTrainingOptions shares = ShareTrainingOptions::kNo);

}  // namespace prune::app
