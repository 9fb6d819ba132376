#include <cstring>

#include "kernels/sparse/spmm_nm/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kChunk = 32;

float widen(float value) { return value; }
float widen(int8_t value) { return value; }
float widen(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

void pack_chunk(const float* x, int64_t cols, void* packed) {
  auto* out = static_cast<float*>(packed);
  for (int64_t k = 0; k < kChunk; ++k) out[k] = k < cols ? x[k] : 0.0f;
}

template <class T>
void multiply(const Nm24Stream& stream, const void* x, int64_t n, float* sums) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < kNm24GroupRows; ++r) {
      const T* values = static_cast<const T*>(stream.values) + r * kChunk / 2;
      const float* inputs = static_cast<const float*>(x) + i * kChunk;
      float even = 0, odd = 0;
      for (int64_t c = 0; c < stream.chunks;
           ++c, inputs += n * kChunk, values += kNm24GroupRows * kChunk / 2) {
        uint32_t indices = stream.indices[c * kNm24GroupRows + r];
        for (int g = 0; g < kChunk / 4; ++g, indices >>= 4) {
          even += widen(values[2 * g]) * inputs[4 * g + (indices & 3)];
          odd += widen(values[2 * g + 1]) * inputs[4 * g + (indices >> 2 & 3)];
        }
      }
      sums[i * kNm24GroupRows + r] = even + odd;
    }
  }
}

template <class T>
constexpr Nm24Kernel make_kernel(const char* name, WeightType type) {
  return {.name = name,
          .type = type,
          .chunk = kChunk,
          .x_bytes = 4,
          .order = [](int32_t p) { return p; },
          .pack_chunk = pack_chunk,
          .multiply = multiply<T>};
}

}  // namespace

constexpr Nm24Kernel nm24_f32_generic = make_kernel<float>("nm24_f32_generic", WeightType::kF32);
constexpr Nm24Kernel nm24_bf16_generic = make_kernel<uint16_t>("nm24_bf16_generic", WeightType::kBf16);
constexpr Nm24Kernel nm24_i8_generic = make_kernel<int8_t>("nm24_i8_generic", WeightType::kI8);

}  // namespace prune::kernels
