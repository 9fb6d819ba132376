#include <prune/order_key.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

using testing::from_bits;
using testing::value_of;

// Both keys order like the values they stand for. Enough for neighbours in sorted order: "less" carries on.
template <class T>
void expect_keys_in_order(std::vector<T> values) {
  const auto check = [&](auto value, auto key) {
    std::ranges::sort(values, {}, value);
    for (size_t i = 1; i < values.size(); ++i) {
      const T& a = values[i - 1];
      const T& b = values[i];
      EXPECT_EQ(key(a) < key(b), value(a) < value(b)) << value_of(a) << " and " << value_of(b);
      EXPECT_EQ(key(a) == key(b), value(a) == value(b)) << value_of(a) << " and " << value_of(b);
    }
  };
  check([](const T& v) { return value_of(v); }, [](const T& v) { return order_key(v); });
  check([](const T& v) { return std::abs(value_of(v)); }, [](const T& v) { return magnitude_key(v); });
}

template <class T>
void expect_class(const T& value) {
  EXPECT_EQ(is_nan(value), std::isnan(value_of(value))) << value_of(value);
  EXPECT_EQ(is_zero(value), value_of(value) == 0) << value_of(value);
  EXPECT_EQ(magnitude_key(value) > FloatBits<T>::kInfinityKey, std::isnan(value_of(value)));
  EXPECT_GE(magnitude_key(value), 0);
}

template <class T>
class NarrowKeys : public ::testing::Test {};
using NarrowTypes = ::testing::Types<bf16, f16, f8_e4m3, f8_e5m2>;
TYPED_TEST_SUITE(NarrowKeys, NarrowTypes);

TYPED_TEST(NarrowKeys, AllBitPatterns) {
  using T = TypeParam;
  std::vector<T> numbers;
  size_t nans = 0;
  for (unsigned bits = 0; bits >> (8 * sizeof(T)) == 0; ++bits) {
    const T value = from_bits<T>(testing::BitsOf<T>(bits));
    expect_class(value);
    std::isnan(value_of(value)) ? void(++nans) : numbers.push_back(value);
  }
  constexpr auto format = testing::format_of<T>();
  EXPECT_EQ(nans, format.has_infinity ? 2 * ((size_t(1) << format.mantissa_bits) - 1) : 2);
  expect_keys_in_order(std::move(numbers));
}

template <class T>
class WideKeys : public ::testing::Test {};
using WideTypes = ::testing::Types<float, double>;
TYPED_TEST_SUITE(WideKeys, WideTypes);

// Every boundary of the type, both sides of it, both signs.
TYPED_TEST(WideKeys, Boundaries) {
  using T = TypeParam;
  using Limits = std::numeric_limits<T>;
  const T infinity = Limits::infinity();
  std::vector<T> values;
  for (const T boundary : {T(0), Limits::denorm_min(), Limits::min(), T(1), T(2), T(0.1), Limits::max()}) {
    for (const T value :
         {std::nextafter(boundary, -infinity), boundary, std::nextafter(boundary, infinity)}) {
      values.push_back(value);
      values.push_back(-value);
    }
  }
  values.push_back(infinity);
  values.push_back(-infinity);
  for (const T& value : values) expect_class(value);
  expect_keys_in_order(values);
}

TYPED_TEST(WideKeys, RandomPatterns) {
  using T = TypeParam;
  std::mt19937 rng(testing::test_seed());
  std::vector<T> values;
  for (int i = 0; i < 20000; ++i) values.push_back(testing::random_value<T>(rng));
  for (const T& value : values) expect_class(value);
  expect_keys_in_order(std::move(values));
}

TYPED_TEST(WideKeys, NansAreAboveInfinity) {
  using T = TypeParam;
  const T quiet = std::numeric_limits<T>::quiet_NaN();
  for (const T nan : {quiet, -quiet, testing::quiet_nan<T>(), testing::quiet_nan<T>(true),
                      from_bits<T>(testing::BitsOf<T>(FloatBits<T>::kInfinityKey + 1))}) {
    expect_class(nan);
    EXPECT_TRUE(is_nan(nan));
  }
}

TEST(OrderKey, BothZerosAreOne) {
  EXPECT_EQ(order_key(-0.0f), order_key(0.0f));
  EXPECT_EQ(order_key(-0.0), order_key(0.0));
  EXPECT_NE(bit_pattern(-0.0f), bit_pattern(0.0f));
}

}  // namespace
}  // namespace prune
