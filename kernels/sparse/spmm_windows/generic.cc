#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_windows/kernel.h"

namespace prune::kernels {
namespace {

template <class T>
void multiply_one(const WindowsStream& stream, const float* x, float* sums) {
  for (int64_t r = 0; r < kWindowRows; ++r) sums[r] = 0;
  const T* values = static_cast<const T*>(stream.values);
  const uint8_t* columns = stream.columns;
  for (int64_t step = 0; step < stream.pairs * stream.steps; ++step) {
    const float* pair = x + step / stream.steps * kWindowPair;
    for (int64_t w = 0; w < 2; ++w) {
      for (int64_t r = 0; r < kWindowRows; ++r) sums[r] += widen(*values++) * pair[w * kWindow + *columns++];
    }
  }
  const T* tail = static_cast<const T*>(stream.tail_values);
  const uint16_t* column = stream.tail_columns;
  for (int64_t r = 0; r < kWindowRows; ++r) {
    for (int32_t j = 0; j < stream.tail_counts[r]; ++j) sums[r] += widen(*tail++) * x[*column++];
  }
}

template <class T>
void multiply(const WindowsStream& stream, const float* x, int64_t x_stride, int64_t n, float* sums) {
  for (int64_t i = 0; i < n; ++i) multiply_one<T>(stream, x + i * x_stride, sums + i * kWindowRows);
}

}  // namespace

constexpr WindowsKernel windows_f32_generic{"windows_f32_generic", WeightType::kF32, multiply<float>};
constexpr WindowsKernel windows_bf16_generic{"windows_bf16_generic", WeightType::kBf16, multiply<uint16_t>};
constexpr WindowsKernel windows_i8_generic{"windows_i8_generic", WeightType::kI8, multiply<int8_t>};

}  // namespace prune::kernels
