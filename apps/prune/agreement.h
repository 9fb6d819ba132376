// Whether two computations of one product gave the same.
#pragma once

#include <span>

namespace prune::app {

struct Agreement {
  bool same_special = true;  // NaN in the same places, and the same infinities
  float largest = 0;         // |expected|, and below |expected - actual|, over what is finite in both
  float error = 0;

  // The error at most `tolerance` times the largest value.
  bool is_within(float tolerance) const { return same_special && error <= tolerance * largest; }
};

// Both of one size.
Agreement compare(std::span<const float> expected, std::span<const float> actual);

}  // namespace prune::app
