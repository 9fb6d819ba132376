// The arrays of one packed weight as the kernels take them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "kernels/sparse/plan.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune {

class PackedArrays {
 public:
  // Of a checkpoint's weight, whose check() must have passed before anything but a plan in place
  // (kernels::Use::kInPlace, kManyRowsInPlace) is asked for. Arrays that are aligned in the mapped file and
  // of a type that the kernels take stay there, so the checkpoint must outlive this; others are copied,
  // values of other types widened to float.
  PackedArrays(const PackedCheckpoint& checkpoint, const PackedWeight& weight);
  // Of matrices in memory, copied. T: float, bf16, f16 in N:M, or int8_t with scales.
  template <class T>
  explicit PackedArrays(const NmPacked<T>& packed, const ScaleGrid& scales = {});
  template <class T>
  explicit PackedArrays(const BitmaskPacked<T>& packed, const ScaleGrid& scales = {});
  template <class T>
  explicit PackedArrays(const Csr<T>& packed, const ScaleGrid& scales = {});
  template <class T>
  explicit PackedArrays(const Bsr<T>& packed, const ScaleGrid& scales = {});
  template <class T>
  explicit PackedArrays(const WindowsPacked<T>& packed, const ScaleGrid& scales = {});

  PackedArrays(PackedArrays&&) noexcept = default;
  PackedArrays& operator=(PackedArrays&&) noexcept = default;

  int64_t rows() const { return common().rows; }
  int64_t cols() const { return common().cols; }
  kernels::WeightType type() const { return common().type; }
  // The type of expanded rows.
  kernels::WeightType expanded_type() const;
  // Of rows, [rows]; null for ones, and where groups of columns have scales, which expand() applies.
  const float* row_scales() const { return common().scale_group == 0 ? common().scales : nullptr; }
  int64_t stored() const { return stored_; }  // values

  kernels::Plan prepare(const kernels::PrepareOptions& options = {}) const;
  // Rows that expand() takes begin and end at multiples of this.
  int64_t row_step() const;
  // See kernels/sparse/expand/expand.h.
  void expand(int64_t first, int64_t count, void* out) const;

  // Memory that this holds, and what stays in the file.
  size_t bytes() const;
  size_t mapped_bytes() const;
  // Lets the pages of the file go from resident memory; the next use brings them back.
  void release_pages() const;

 private:
  using View = std::variant<kernels::NmWeights, kernels::BitmaskWeights, kernels::CsrWeights,
                            kernels::BsrWeights, kernels::WindowsWeights>;

  const kernels::Weights& common() const;
  template <class W, class Packed>
  W describe(const Packed& packed, const ScaleGrid& scales);
  template <class T>
  const T* keep(std::vector<T> array);
  template <class T>
  const T* map_or_copy(std::span<const std::byte> bytes);
  void read_values(const PackedCheckpoint& checkpoint, const PackedWeight& weight, kernels::Weights& view);

  View view_;
  int64_t stored_ = 0;
  std::vector<std::vector<std::byte>> owned_;
  const MappedFile* file_ = nullptr;
  std::vector<std::span<const std::byte>> mapped_;
};

}  // namespace prune
