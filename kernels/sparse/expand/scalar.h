// A row, weight by weight: for processors without a kernel, and where a kernel would read too far.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/sparse/simd/widen.h"

namespace prune::kernels {
namespace {

inline float as_stored(float value) { return value; }
inline float as_stored(Half half) { return widen(half); }
inline uint16_t as_stored(uint16_t bits) { return bits; }
// A whole number of seven bits fills the upper half of a float only.
inline uint16_t as_stored(int8_t value) {
  const float wide = value;
  uint32_t bits;
  std::memcpy(&bits, &wide, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

// From place `first` on, which takes the first of `values`.
template <class T, class Out>
void expand_from(int64_t first, const uint8_t* bits, const T* values, int64_t cols, Out* out) {
  for (int64_t j = first; j < cols; ++j)
    out[j] = (bits[j / 8] >> (j % 8) & 1) != 0 ? as_stored(*values++) : Out{};
}

}  // namespace
}  // namespace prune::kernels
