// The two 8-bit floating-point types of checkpoints, as storage: one byte, converted to float to compute.
//
// Source: Micikevicius et al., "FP8 Formats for Deep Learning", arXiv 2209.05433. E4M3 (bias 7) has no
// infinity and one NaN pattern a sign; E5M2 (bias 15) follows IEEE 754.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace prune {

namespace detail {

// (-1)^s 2^(e - bias) (1 + m / 2^man), subnormal below e = 1. Special values are the caller's.
template <int kMantissaBits, int kBias>
float decode_float8(uint8_t bits) {
  const int exponent = (bits & 0x7f) >> kMantissaBits;
  const int mantissa = bits & ((1 << kMantissaBits) - 1);
  const int significand = exponent == 0 ? mantissa : mantissa | (1 << kMantissaBits);
  const float magnitude =
      std::ldexp(float(significand), (exponent == 0 ? 1 : exponent) - kBias - kMantissaBits);
  return bits & 0x80 ? -magnitude : magnitude;
}

}  // namespace detail

struct f8_e4m3 {
  uint8_t bits = 0;
  explicit operator float() const {
    if ((bits & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
    return detail::decode_float8<3, 7>(bits);
  }
};

struct f8_e5m2 {
  uint8_t bits = 0;
  explicit operator float() const {
    if ((bits & 0x7f) > 0x7c) return std::numeric_limits<float>::quiet_NaN();
    if ((bits & 0x7f) == 0x7c) {
      const float infinity = std::numeric_limits<float>::infinity();
      return bits & 0x80 ? -infinity : infinity;
    }
    return detail::decode_float8<2, 15>(bits);
  }
};

}  // namespace prune
