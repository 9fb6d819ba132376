// Weights of any type as floats, one at a time. In an anonymous namespace like everything under simd/: a file
// built for one instruction set must not lend its code to another.
#pragma once

#include <cstdint>
#include <cstring>

namespace prune::kernels {
namespace {

inline float widen(float value) { return value; }
inline float widen(int8_t value) { return value; }
inline float widen(uint16_t bf16_bits) {
  const uint32_t wide = uint32_t{bf16_bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

}  // namespace
}  // namespace prune::kernels
