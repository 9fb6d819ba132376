// From which size of batch one way to compute a product is faster than another, on this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace prune {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// Y [n, out] = X [n, in] W^T, contiguous.
using BatchProduct = std::function<void(const float* x, float* y, int64_t n)>;

// The least of a few n from which `many` stays clearly faster than `few`; kNever. A few hundred milliseconds.
int64_t measure_crossover(int64_t out, int64_t in, const BatchProduct& few, const BatchProduct& many);

// "2^12x2^11": shapes whose times are alike.
std::string shape_kind(int64_t out, int64_t in);

}  // namespace prune
