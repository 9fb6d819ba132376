// From which size of batch one way to compute a product is faster than another, on this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>

namespace prune {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// Y [n, out] = X [n, in] W^T, contiguous.
using BatchProduct = std::function<void(const float* x, float* y, int64_t n)>;

// What a batch of n rows took each way, in seconds.
struct BatchTimes {
  int64_t n;
  double few, many;
};
// The n from which to take `many` so that the product of all times is least, where it must be clearly faster;
// kNever. Ascending n.
int64_t least_regret(std::span<const BatchTimes> times);

// least_regret() of a few n up to 512. Takes a few hundred milliseconds.
int64_t measure_crossover(int64_t out, int64_t in, const BatchProduct& few, const BatchProduct& many);

// Whether a product of n rows is faster this way than the other by more than measurements differ.
bool is_clearly_faster(int64_t out, int64_t in, int64_t n, const BatchProduct& way,
                       const BatchProduct& other);

// "2^12x2^11": shapes whose times are alike.
std::string shape_kind(int64_t out, int64_t in);

}  // namespace prune
