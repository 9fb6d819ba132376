// Reads any packed format one row at a time. Preparing a layout is written once against this.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

// Where groups of columns have scales of their own, values are floats that these are multiplied into.
struct RowSource {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t kept = 0;  // weights that decode() writes, of all rows
  WeightType type = WeightType::kF32;
  std::vector<float> scales;  // empty: every row times one

  // Writes the columns (ascending) and values of row r and returns how many there are, at most cols.
  // Floats hold bf16 and int8 values exactly.
  std::function<int64_t(int64_t r, int32_t* columns, float* values)> decode;
};

// The source reads through the pointers of `weights`, which must outlive it.
RowSource read_rows(const NmWeights& weights);
RowSource read_rows(const BitmaskWeights& weights);
RowSource read_rows(const CsrWeights& weights);
RowSource read_rows(const BsrWeights& weights);
RowSource read_rows(const WindowsWeights& weights);

// Element i of an array of weights, and the bf16 bit pattern of a float that a bf16 holds exactly.
float load_weight(const void* values, WeightType type, int64_t i);
void store_weight(void* values, WeightType type, int64_t i, float value);
uint16_t exact_bf16(float value);
// An int8 value as a sign and seven bits, which leave no room for -128.
uint8_t sign_magnitude(float value);
bool has_minus_128(const RowSource& source);

}  // namespace prune::kernels
