// From a tensor's type in the file to a C++ type and a matrix view.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <prune/error.h>
#include <prune/float8.h>
#include <prune/matrix.h>
#include <prune/pattern.h>

#include "libprune/io/safetensors.h"
#include "libprune/model/architecture.h"

namespace prune {

// Calls visitor.template operator()<T>() with the C++ type of a prunable dtype.
template <class Visitor>
decltype(auto) visit_dtype(DType dtype, Visitor&& visitor) {
  switch (dtype) {
    case DType::kF64:
      return visitor.template operator()<double>();
    case DType::kF32:
      return visitor.template operator()<float>();
    case DType::kF16:
      return visitor.template operator()<f16>();
    case DType::kBF16:
      return visitor.template operator()<bf16>();
    case DType::kF8E4M3:
      return visitor.template operator()<f8_e4m3>();
    case DType::kF8E5M2:
      return visitor.template operator()<f8_e5m2>();
    default:
      throw_input("type " + std::string(name(dtype)) + " has no weights to prune");
  }
}

// A weight of the file as [out, in]: a view of the mapped bytes where these are aligned and stored that way,
// else a copy.
template <class T>
class WeightMatrix {
 public:
  WeightMatrix(std::span<const std::byte> bytes, Index file_rows, Index file_cols, Orientation orientation)
      : rows_(file_rows), cols_(file_cols) {
    const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) == 0;
    data_ = aligned ? reinterpret_cast<const T*>(bytes.data()) : copy(bytes);
    if (orientation == Orientation::kInOut) transpose();
  }

  ConstView<T> view() const { return prune::view(data_, rows_, cols_); }

 private:
  const T* copy(std::span<const std::byte> bytes) {
    owned_.resize(rows_, cols_);
    if (!bytes.empty()) std::memcpy(static_cast<void*>(owned_.data()), bytes.data(), bytes.size());
    return owned_.data();
  }
  void transpose() {
    Matrix<T> turned = view().transpose();
    owned_ = std::move(turned);
    data_ = owned_.data();
    std::swap(rows_, cols_);
  }

  Index rows_;
  Index cols_;
  Matrix<T> owned_;
  const T* data_ = nullptr;
};

// What scores and masks of blocks take beside a matrix of so many weights.
inline size_t scoring_bytes(const Pattern& pattern, int64_t weights) {
  constexpr size_t kBytesPerBlock = 24;  // score, key, a place among the chosen
  const Block* block = std::get_if<Block>(&pattern);
  return size_t(weights) / 8 + (block ? size_t(weights / (block->rows * block->cols)) * kBytesPerBlock : 0);
}

// The most that a WeightMatrix of these bytes allocates.
inline size_t copied_bytes(std::span<const std::byte> bytes, DType dtype, Orientation orientation) {
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % std::max(1, bits(dtype) / 8) == 0;
  return ((aligned ? 0 : 1) + (orientation == Orientation::kInOut ? 1 : 0)) * bytes.size();
}

}  // namespace prune
