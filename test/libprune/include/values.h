// Values and random matrices of every type that can be pruned, decoded by the textbook rather than by the
// library.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <prune/prune.h>

namespace prune::testing {

// PRUNE_TEST_SEED repeats a failure.
inline uint32_t test_seed() {
  const char* seed = std::getenv("PRUNE_TEST_SEED");
  return seed != nullptr ? uint32_t(std::atoll(seed)) : 20240601u;
}

template <class T>
using BitsOf = std::make_unsigned_t<KeyOf<T>>;

template <class T>
T from_bits(BitsOf<T> bits) {
  T value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

template <class T>
BitsOf<T> bits_of(const T& value) {
  BitsOf<T> bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// The layout of a type in bits: sign, exponent, mantissa, from the top.
struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;
};

template <class T>
constexpr FloatFormat format_of() {
  if constexpr (std::is_same_v<T, f8_e4m3>) return {4, 3, false};
  if constexpr (std::is_same_v<T, f8_e5m2>) return {5, 2, true};
  if constexpr (std::is_same_v<T, bf16>) return {8, 7, true};
  if constexpr (std::is_same_v<T, f16>) return {5, 10, true};
  if constexpr (std::is_same_v<T, float>) return {8, 23, true};
  if constexpr (std::is_same_v<T, double>) return {11, 52, true};
}

// What a bit pattern of up to 16 bits stands for.
inline double decode(unsigned bits, FloatFormat format) {
  const int exponent_mask = (1 << format.exponent_bits) - 1;
  const int mantissa_mask = (1 << format.mantissa_bits) - 1;
  const int exponent = int(bits >> format.mantissa_bits) & exponent_mask;
  const int mantissa = int(bits) & mantissa_mask;
  const double sign = bits >> (format.exponent_bits + format.mantissa_bits) & 1 ? -1.0 : 1.0;
  const int bias = exponent_mask / 2;
  if (exponent == exponent_mask) {
    if (format.has_infinity) return mantissa == 0 ? sign * INFINITY : NAN;
    if (mantissa == mantissa_mask) return NAN;
  }
  const double fraction = double(mantissa) / (mantissa_mask + 1);
  return exponent == 0 ? sign * std::pow(2.0, 1 - bias) * fraction
                       : sign * std::pow(2.0, exponent - bias) * (1.0 + fraction);
}

template <class T>
double value_of(const T& value) {
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
    return double(value);
  } else {
    return decode(bits_of(value), format_of<T>());
  }
}

// The value of type T that is exactly `wanted`.
template <class T>
T exactly(double wanted) {
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
    return T(wanted);
  } else {
    for (unsigned bits = 0; bits >> (8 * sizeof(T)) == 0; ++bits) {
      const double value = decode(bits, format_of<T>());
      if (value == wanted && std::signbit(value) == std::signbit(wanted))
        return from_bits<T>(BitsOf<T>(bits));
    }
    throw std::invalid_argument("not a value of this type: " + std::to_string(wanted));
  }
}

template <class T>
T quiet_nan(bool negative = false) {
  constexpr BitsOf<T> sign = BitsOf<T>(1) << (8 * sizeof(T) - 1);
  return from_bits<T>(BitsOf<T>(sign - 1) |
                      (negative ? sign : BitsOf<T>(0)));  // all but the sign set: NaN in every type
}

// Few values, so that ties are everywhere: both zeros, the extremes of the type, infinities where it has
// them.
template <class T>
const std::vector<T>& tied_values() {
  static const std::vector<T> values = [] {
    std::vector<T> list;
    for (const double magnitude : {0.0, 0.5, 1.0, 1.5, 2.0, 448.0}) {
      list.push_back(exactly<T>(magnitude));
      list.push_back(exactly<T>(-magnitude));
    }
    const BitsOf<T> smallest = 1;
    const BitsOf<T> sign = BitsOf<T>(1) << (8 * sizeof(T) - 1);
    list.push_back(from_bits<T>(smallest));
    list.push_back(from_bits<T>(BitsOf<T>(smallest | sign)));
    const BitsOf<T> largest = BitsOf<T>(FloatBits<T>::kInfinityKey);  // E4M3: 448, else infinity
    list.push_back(from_bits<T>(largest));
    list.push_back(from_bits<T>(BitsOf<T>(largest | sign)));
    list.push_back(from_bits<T>(BitsOf<T>(largest - 1)));
    return list;
  }();
  return values;
}

template <class T>
Matrix<T> tied_matrix(Index rows, Index cols, std::mt19937& rng) {
  const std::vector<T>& values = tied_values<T>();
  Matrix<T> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = values[rng() % values.size()];
  return m;
}

// Any bit pattern that is no NaN.
template <class T>
T random_value(std::mt19937& rng) {
  for (;;) {
    const T value = from_bits<T>(BitsOf<T>(uint64_t(rng()) << 32 | rng()));
    if (!std::isnan(value_of(value))) return value;
  }
}

template <class T>
Matrix<T> random_matrix(Index rows, Index cols, std::mt19937& rng) {
  Matrix<T> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = random_value<T>(rng);
  return m;
}

template <class A, class B>
::testing::AssertionResult same_bits(const A& a, const B& b) {
  using T = typename A::Scalar;
  static_assert(std::is_same_v<T, typename B::Scalar>);
  if (a.rows() != b.rows() || a.cols() != b.cols()) return ::testing::AssertionFailure() << "shapes differ";
  for (Index i = 0; i < a.rows(); ++i) {
    for (Index j = 0; j < a.cols(); ++j) {
      const T x = a.data()[i * a.outerStride() + j];
      const T y = b.data()[i * b.outerStride() + j];
      if (bits_of(x) == bits_of(y)) continue;
      return ::testing::AssertionFailure()
             << "row " << i << ", column " << j << ": " << value_of(x) << " is not " << value_of(y);
    }
  }
  return ::testing::AssertionSuccess();
}

// "" when `call` throws Error of this kind whose message contains `text`, else what happened instead.
inline std::string refusal(ErrorKind kind, const std::string& text, const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (error.kind() != kind) return "another kind of error: " + message;
    if (message.find(text) == std::string::npos) return "another message: " + message;
    if (message.find_first_of("\n\r\t\x1b") != std::string::npos) return "more than a line: " + message;
    return "";
  }
  return "no error";
}

using AllTypes = ::testing::Types<double, float, f16, bf16, f8_e4m3, f8_e5m2>;

}  // namespace prune::testing
