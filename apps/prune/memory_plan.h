// What --dry-run says of the memory that calibration will take.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "libprune/model/calibrated/memory_estimate.h"

namespace prune::app {

nlohmann::json memory_json(const MemoryEstimate& memory);
std::string memory_text(const MemoryEstimate& memory);

}  // namespace prune::app
