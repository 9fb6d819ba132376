// The inputs of a case, and the check of what a product made of them.
//
// Inputs are whole numbers of -127 to 127 in steps of 1/128: float, bf16 and int8 hold them exactly, so every
// product, whatever it multiplies in, has the same result but for the order of its sums. Every row holds 127
// of them, which makes them the steps that a row is rounded to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/weights.h"
#include "kernels/sparse/plan.h"

namespace prune::bench {

inline constexpr float kInputStep = 1.0F / 128;

// One row-major batch, X [n, cols] and Y [n, rows].
struct BatchMemory {
  std::vector<float> x, y;
  kernels::Batch view;
  BatchMemory(const Shape& shape, int64_t n);
};

// X as whole numbers, rows next to each other.
std::vector<int8_t> as_int8(const kernels::Batch& batch);

// What is wrong with Y: a sample of its elements against sums in double precision over the weights that stay,
// off by more than 2e-5 of the sum of the products' sizes. Nothing where all agree.
std::optional<std::string> find_difference(const TestWeights& weights, const kernels::Batch& batch);

}  // namespace prune::bench
