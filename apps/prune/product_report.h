// Timings of products as a person or a program reads them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "apps/prune/gpu_products.h"
#include "apps/prune/product_timing.h"

namespace prune::app {

// A table, the time in all layers together, and what ran.
std::string in_words(const std::vector<ProductTiming>& timings, const bench::Roof& roof);
nlohmann::json to_json(const std::vector<ProductTiming>& timings, const bench::Roof& roof);
// The same of a GPU, but for threads.
std::string in_words(const GpuTimings& timings);
nlohmann::json to_json(const GpuTimings& timings);

}  // namespace prune::app
