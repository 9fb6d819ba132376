// Floating-point values as signed integers of the same order, so that selection compares, counts and
// histograms integers of the value's own width instead of converting to float.
//
// IEEE 754 patterns without their sign bit order like the magnitudes they stand for; NaN is above infinity.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <prune/matrix.h>

namespace prune {

// Key: a signed integer as wide as T. kInfinityKey: the magnitude key of the largest value that is not NaN.
template <SupportedScalar T>
struct FloatBits;
template <>
struct FloatBits<f8_e4m3> {
  using Key = int8_t;
  static constexpr Key kInfinityKey = 0x7e;
};
template <>
struct FloatBits<f8_e5m2> {
  using Key = int8_t;
  static constexpr Key kInfinityKey = 0x7c;
};
template <>
struct FloatBits<bf16> {
  using Key = int16_t;
  static constexpr Key kInfinityKey = 0x7f80;
};
template <>
struct FloatBits<f16> {
  using Key = int16_t;
  static constexpr Key kInfinityKey = 0x7c00;
};
template <>
struct FloatBits<float> {
  using Key = int32_t;
  static constexpr Key kInfinityKey = 0x7f800000;
};
template <>
struct FloatBits<double> {
  using Key = int64_t;
  static constexpr Key kInfinityKey = 0x7ff0000000000000;
};

template <SupportedScalar T>
using KeyOf = typename FloatBits<T>::Key;

// The bit pattern of a value.
template <class T>
KeyOf<T> bit_pattern(const T& value) {
  static_assert(sizeof(T) == sizeof(KeyOf<T>));
  KeyOf<T> bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// |a| < |b| exactly when magnitude_key(a) < magnitude_key(b); both zeros have key 0; NaN is above
// kInfinityKey.
template <class T>
KeyOf<T> magnitude_key(const T& value) {
  using Key = KeyOf<T>;
  constexpr Key kMagnitude = Key(~(std::make_unsigned_t<Key>(1) << (sizeof(Key) * 8 - 1)));
  return Key(bit_pattern(value) & kMagnitude);
}

// a < b exactly when order_key(a) < order_key(b), for values of either sign; -0 and +0 have the same key.
template <class T>
KeyOf<T> order_key(const T& value) {
  const KeyOf<T> magnitude = magnitude_key(value);
  return bit_pattern(value) < 0 ? KeyOf<T>(-magnitude) : magnitude;
}

template <class T>
bool is_nan(const T& value) {
  return magnitude_key(value) > FloatBits<T>::kInfinityKey;
}

// True for +0 and -0.
template <class T>
bool is_zero(const T& value) {
  return magnitude_key(value) == 0;
}

// The same value as a double, which holds every value of every type. (The narrow types convert to float.)
template <SupportedScalar T>
double as_double(const T& value) {
  if constexpr (std::is_same_v<T, double>)
    return value;
  else
    return double(float(value));
}

}  // namespace prune
