#include <array>

#include "kernels/sparse/expand/kernel.h"
#include "kernels/sparse/expand/scalar.h"

namespace prune::kernels {
namespace {

template <class T, class Out>
void expand_row(const uint8_t* bits, const void* values, int64_t cols, void* out) {
  expand_from(0, bits, static_cast<const T*>(values), cols, static_cast<Out*>(out));
}

// Both groups of a byte of 2:4 indices as the byte of a bitmask: idx0 + 4 idx1, the low nibble first.
constexpr std::array<uint8_t, 256> make_nm24_masks() {
  std::array<uint8_t, 256> masks{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    for (unsigned nibble = 0; nibble < 2; ++nibble) {
      const unsigned pair = byte >> (4 * nibble);
      const unsigned mask = 1u << (pair & 3) | 1u << (pair >> 2 & 3);
      masks[byte] = static_cast<uint8_t>(masks[byte] | mask << (4 * nibble));
    }
  }
  return masks;
}
constexpr std::array<uint8_t, 256> kNm24Masks = make_nm24_masks();

}  // namespace

void nm24_masks_by_table(const uint8_t* indices, int64_t count, uint8_t* masks) {
  for (int64_t b = 0; b < count; ++b) masks[b] = kNm24Masks[indices[b]];
}

constexpr ExpandKernel expand_f32_generic{"expand_f32_generic", WeightType::kF32, expand_row<float, float>};
constexpr ExpandKernel expand_bf16_generic{"expand_bf16_generic", WeightType::kBf16,
                                           expand_row<uint16_t, uint16_t>};
constexpr ExpandKernel expand_f16_generic{"expand_f16_generic", WeightType::kF16, expand_row<Half, float>};
constexpr ExpandKernel expand_i8_generic{"expand_i8_generic", WeightType::kI8, expand_row<int8_t, uint16_t>};

}  // namespace prune::kernels
