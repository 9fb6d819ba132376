#include <cstring>

#include "kernels/sparse/expand/kernel.h"

namespace prune::kernels {
namespace {

float as_stored(float value) { return value; }
uint16_t as_stored(uint16_t bits) { return bits; }
// A whole number of seven bits fills the upper half of a float only.
uint16_t as_stored(int8_t value) {
  const float wide = value;
  uint32_t bits;
  std::memcpy(&bits, &wide, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

template <class T, class Out>
void expand_row(const uint8_t* bits, const void* values, int64_t cols, void* out) {
  const T* value = static_cast<const T*>(values);
  Out* to = static_cast<Out*>(out);
  for (int64_t j = 0; j < cols; ++j) to[j] = (bits[j / 8] >> (j % 8) & 1) != 0 ? as_stored(*value++) : Out{};
}

}  // namespace

constexpr ExpandKernel expand_f32_generic{"expand_f32_generic", WeightType::kF32, expand_row<float, float>};
constexpr ExpandKernel expand_bf16_generic{"expand_bf16_generic", WeightType::kBf16,
                                           expand_row<uint16_t, uint16_t>};
constexpr ExpandKernel expand_i8_generic{"expand_i8_generic", WeightType::kI8, expand_row<int8_t, uint16_t>};

}  // namespace prune::kernels
