// config.json of a model that was cut.
#pragma once

#include <string>
#include <string_view>

#include "libprune/model/structured/cut.h"

namespace prune {

// The text of config.json with those values changed that the cut changes, and no others. Read again it gives
// cut_config(); throws Error(kUsage) where no values do: the format can't say this cut.
std::string cut_config_text(std::string_view text, const DecoderConfig& dense, const Cut& cut);

// What readers of such a config might object to; empty: nothing.
std::string loading_note(const DecoderConfig& config);

}  // namespace prune
