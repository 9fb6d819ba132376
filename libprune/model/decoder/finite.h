// Activations that became NaN or infinite.
#pragma once

#include <cstdint>
#include <string>

namespace prune {

bool all_finite(const float* values, int64_t n);

// Throws Error(kInput) naming the layer that made them.
void require_finite(const float* hidden, int64_t n, const std::string& layer);

// What require_finite() throws.
[[noreturn]] void throw_not_finite(const std::string& layer);

}  // namespace prune
