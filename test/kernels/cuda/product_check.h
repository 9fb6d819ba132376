// Products of the GPU against their reference, run twice.
#pragma once

#include "kernels/sparse/cuda/product_call.h"
#include "test/kernels/cuda/reference24.h"

namespace prune::test {

template <class T>
std::string name_of() {
  return __is_same(T, __half) ? "f16 " : "bf16 ";
}

// X of a product with weights [rows, expected.sum.size() / tokens]; y has `y_stride` elements a token.
struct ProductInputs {
  const std::vector<uint16_t>& x;
  int x_stride;
  int rows;
  int y_stride;
  int tokens;
};

// `product(ProductCall)` writes what is expected and nothing beside, twice the same bits: alone and
// overlapping the kernel before.
template <class T, class Product>
void product_is_right(const ProductInputs& inputs, const Expected& expected, const std::string& label,
                      const Product& product) {
  const DeviceArray<uint16_t> x(inputs.x);
  DeviceArray<uint16_t> y(size_t(inputs.tokens) * inputs.y_stride);
  kernels::cuda::ProductCall call{
      .element = __is_same(T, __half) ? kernels::cuda::Element::kF16 : kernels::cuda::Element::kBf16,
      .tokens = inputs.tokens,
      .x = x.get(),
      .x_stride = inputs.x_stride,
      .y = y.get(),
      .y_stride = inputs.y_stride};
  std::vector<uint16_t> first;
  for (const bool overlap : {false, true}) {
    y.fill_bytes(0xa5);
    call.overlap_previous = overlap;
    const kernels::cuda::Status status = product(call);
    if (!check(status.ok(), label + ": " + describe(status))) return;
    const std::vector<uint16_t> got = y.host();
    std::string where;
    const int wrong = count_wrong<T>(got, inputs.y_stride, expected, inputs.rows, inputs.tokens, &where);
    check(wrong == 0, label + ": " + std::to_string(wrong) + " outputs are wrong" + where);
    if (overlap) check(got == first, label + ": a second run differs");
    first = got;
  }
}

}  // namespace prune::test
