// Timings of products as a person or a program reads them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "apps/prune/product_timing.h"

namespace prune::app {

// A table, the time in all layers together, and what ran.
std::string in_words(const std::vector<ProductTiming>& timings, const bench::Roof& roof);
nlohmann::json to_json(const std::vector<ProductTiming>& timings, const bench::Roof& roof);

}  // namespace prune::app
