#include "libprune/model/runtime/linear_products.h"

#include <cstring>

#include "libprune/model/plain_linear.h"
#include "libprune/model/sparse_linear.h"

namespace prune {
namespace {

class SparseProduct final : public LinearProduct {
 public:
  explicit SparseProduct(SparseLinear layer) : layer_(std::move(layer)) {}
  void run(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const override {
    layer_.forward(x, ldx, y, ldy, n);
  }

 private:
  SparseLinear layer_;
};

class PlainProduct final : public LinearProduct {
 public:
  // `owned` holds the weights where the file can't.
  PlainProduct(std::vector<std::byte> owned, PlainLinear layer)
      : owned_(std::move(owned)), layer_(std::move(layer)) {}
  void run(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const override {
    layer_.forward(x, ldx, y, ldy, n);
  }

 private:
  std::vector<std::byte> owned_;
  PlainLinear layer_;
};

bool lies_ready(const StoredMatrix& stored, Orientation orientation) {
  const auto address = reinterpret_cast<uintptr_t>(stored.data);
  const bool aligned = stored.dtype == DType::kBF16 ? address % 2 == 0 : address % 4 == 0;
  return orientation == Orientation::kOutIn && aligned &&
         (stored.dtype == DType::kBF16 || stored.dtype == DType::kF32);
}

// The upper halves of floats, which hold all of a number that was a bf16.
std::vector<std::byte> narrow(const FloatMatrix& matrix) {
  std::vector<std::byte> halves(static_cast<size_t>(matrix.size()) * 2);
  for (int64_t i = 0; i < matrix.size(); ++i) {
    uint32_t bits;
    std::memcpy(&bits, matrix.data() + i, sizeof bits);
    const auto half = static_cast<uint16_t>(bits >> 16);
    std::memcpy(halves.data() + 2 * i, &half, sizeof half);
  }
  return halves;
}

std::vector<std::byte> bytes_of(const FloatMatrix& matrix) {
  const auto* data = reinterpret_cast<const std::byte*>(matrix.data());
  return {data, data + static_cast<size_t>(matrix.size()) * sizeof(float)};
}

}  // namespace

std::unique_ptr<LinearProduct> LinearProducts::make(const std::string& weight_name, Orientation orientation,
                                                    int64_t out, int64_t in, const std::vector<float>& bias) {
  const float* shift = bias.empty() ? nullptr : bias.data();
  prepared_.bytes += bias.size() * sizeof(float);
  if (const PackedWeight* weight = tensors_.packed_weight(weight_name, out, in))
    return make_packed(*weight, shift);
  return make_dense(weight_name, orientation, out, in, shift);
}

bool LinearProducts::spares_floats(const std::string& weight_name, Orientation orientation, int64_t out,
                                   int64_t in) const {
  if (tensors_.packed_weight(weight_name, out, in) != nullptr) return true;
  const bool turned = orientation == Orientation::kInOut;
  return options_.rounding == Rounding::kBf16 &&
         tensors_.stored(weight_name, turned ? in : out, turned ? out : in).dtype == DType::kBF16;
}

std::unique_ptr<LinearProduct> LinearProducts::make_packed(const PackedWeight& weight, const float* bias) {
  SparseLinear layer(*tensors_.packed(), weight, bias,
                     {.rounding = options_.rounding,
                      .int8_inputs = options_.int8_inputs,
                      .dense_from = options_.dense_from,
                      .tuning = options_.tuning,
                      .check_at_first_use = true,
                      .for_many_rows = options_.for_many_rows});
  ++prepared_.packed;
  ++prepared_.kernels[layer.kernel_name(1)];
  ++prepared_.prompt_kernels[layer.kernel_name(kPromptRows)];
  prepared_.bytes += layer.bytes();
  prepared_.in_place += layer.in_place_bytes();
  return std::make_unique<SparseProduct>(std::move(layer));
}

std::unique_ptr<LinearProduct> LinearProducts::make_dense(const std::string& name, Orientation orientation,
                                                          int64_t out, int64_t in, const float* bias) {
  const bool turned = orientation == Orientation::kInOut;
  const StoredMatrix stored = tensors_.stored(name, turned ? in : out, turned ? out : in);
  const DenseType type = stored.dtype == DType::kBF16 ? DenseType::kBf16 : DenseType::kF32;
  std::vector<std::byte> owned;
  const void* weights = stored.data;
  if (lies_ready(stored, orientation)) {
    prepared_.in_place += static_cast<size_t>(out * in) * (type == DenseType::kBf16 ? 2 : 4);
  } else {
    const FloatMatrix matrix = tensors_.matrix(name, out, in, orientation);
    owned = type == DenseType::kBf16 ? narrow(matrix) : bytes_of(matrix);
    weights = owned.data();
    prepared_.bytes += owned.size();
  }
  const std::optional<int64_t> dense_from = options_.for_many_rows ? 1 : options_.dense_from;
  PlainLinear layer(type, weights, out, in, bias,
                    {.rounding = options_.rounding, .dense_from = dense_from, .tuning = options_.tuning});
  ++prepared_.dense;
  ++prepared_.kernels[layer.kernel_name(1)];
  ++prepared_.prompt_kernels[layer.kernel_name(kPromptRows)];
  return std::make_unique<PlainProduct>(std::move(owned), std::move(layer));
}

}  // namespace prune
