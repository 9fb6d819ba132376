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

// Half precision, a type of its own beside the bits of bf16.
struct Half {
  uint16_t bits;
};
// Multiplying the exponent's bias away makes subnormal numbers normal as well.
inline float widen(Half half) {
  uint32_t wide = static_cast<uint32_t>(half.bits & 0x7fff) << 13;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  value *= 0x1p112f;
  std::memcpy(&wide, &value, sizeof value);
  if ((half.bits & 0x7c00) == 0x7c00) wide |= 0x7f800000;  // infinity, NaN
  wide |= static_cast<uint32_t>(half.bits & 0x8000) << 16;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

}  // namespace
}  // namespace prune::kernels
