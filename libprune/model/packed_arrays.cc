#include "libprune/model/packed_arrays.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/sparse/expand/expand.h"
#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

template <class T>
constexpr kernels::WeightType kTypeOf = std::is_same_v<T, int8_t> ? kernels::WeightType::kI8
                                        : std::is_same_v<T, bf16> ? kernels::WeightType::kBf16
                                        : std::is_same_v<T, f16>  ? kernels::WeightType::kF16
                                                                  : kernels::WeightType::kF32;

template <class T>
bool is_aligned(std::span<const std::byte> bytes) {
  return reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) == 0;
}

size_t offset_in(const MappedFile& file, std::span<const std::byte> bytes) {
  return static_cast<size_t>(bytes.data() - file.bytes().data());
}

}  // namespace

template <class T>
const T* PackedArrays::keep(std::vector<T> array) {
  std::vector<std::byte>& bytes = owned_.emplace_back(array.size() * sizeof(T));
  if (!array.empty()) std::memcpy(bytes.data(), array.data(), bytes.size());
  return reinterpret_cast<const T*>(bytes.data());
}

template <class W, class Packed>
W PackedArrays::describe(const Packed& packed, const ScaleGrid& scales) {
  W view;
  view.rows = packed.rows;
  view.cols = packed.cols;
  view.type = kTypeOf<typename decltype(packed.values)::value_type>;
  view.values = keep(packed.values);
  if (!scales.values.empty()) view.scales = keep(scales.values);
  view.scale_group = scales.group;
  view.values_count = stored_;
  return view;
}

template <class T>
const T* PackedArrays::map_or_copy(std::span<const std::byte> bytes) {
  if (is_aligned<T>(bytes)) {
    mapped_.push_back(bytes);
    return reinterpret_cast<const T*>(bytes.data());
  }
  std::vector<T> copy(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
  return keep(std::move(copy));
}

void PackedArrays::read_values(const PackedCheckpoint& checkpoint, const PackedWeight& weight,
                               kernels::Weights& view) {
  const std::span<const std::byte> bytes = checkpoint.data(weight, "values");
  view.rows = weight.out;
  view.cols = weight.in;
  stored_ = static_cast<int64_t>(bytes.size()) * 8 / bits(weight.stored_dtype());
  view.values_count = stored_;
  if (weight.values == StoredValues::kInt8) {
    view.type = kernels::WeightType::kI8;
    view.values = map_or_copy<int8_t>(bytes);
    view.scales = map_or_copy<float>(checkpoint.data(weight, "scales"));
    view.scale_group = weight.scale_group;
    return;
  }
  visit_dtype(weight.stored_dtype(), [&]<class T>() {
    view.type = kTypeOf<T>;
    if constexpr (std::is_same_v<T, float> || sizeof(T) == 2) {
      using Stored = std::conditional_t<sizeof(T) == 2, uint16_t, float>;
      view.values = map_or_copy<Stored>(bytes);
    } else {
      std::vector<float> widened(bytes.size() / sizeof(T));
      for (size_t i = 0; i < widened.size(); ++i) {
        T value;
        std::memcpy(static_cast<void*>(&value), bytes.data() + i * sizeof(T), sizeof(T));
        widened[i] = float(value);
      }
      view.values = keep(std::move(widened));
    }
  });
}

PackedArrays::PackedArrays(const PackedCheckpoint& checkpoint, const PackedWeight& w)
    : file_(&checkpoint.checkpoint().shards()[w.shard].map()) {
  switch (w.format) {
    case PackedFormat::kNm: {
      kernels::NmWeights view;
      read_values(checkpoint, w, view);
      view.keep = w.nm.keep;
      view.group = w.nm.group;
      view.indices = map_or_copy<uint8_t>(checkpoint.data(w, "indices"));
      view_ = view;
      break;
    }
    case PackedFormat::kBitmask: {
      kernels::BitmaskWeights view;
      read_values(checkpoint, w, view);
      view.bitmask = map_or_copy<uint8_t>(checkpoint.data(w, "bitmask"));
      view.row_offsets = map_or_copy<int64_t>(checkpoint.data(w, "row_offsets"));
      view_ = view;
      break;
    }
    case PackedFormat::kCsr: {
      kernels::CsrWeights view;
      read_values(checkpoint, w, view);
      view.indices = map_or_copy<int32_t>(checkpoint.data(w, "indices"));
      view.indptr = map_or_copy<int64_t>(checkpoint.data(w, "indptr"));
      view_ = view;
      break;
    }
    case PackedFormat::kBsr: {
      kernels::BsrWeights view;
      read_values(checkpoint, w, view);
      view.block_rows = w.block.rows;
      view.block_cols = w.block.cols;
      view.indices = map_or_copy<int32_t>(checkpoint.data(w, "indices"));
      view.indptr = map_or_copy<int64_t>(checkpoint.data(w, "indptr"));
      view_ = view;
      break;
    }
    case PackedFormat::kWindows: {
      kernels::WindowsWeights view;
      read_values(checkpoint, w, view);
      view.steps = w.steps;
      view.columns = map_or_copy<uint8_t>(checkpoint.data(w, "columns"));
      view.tail_columns = map_or_copy<uint16_t>(checkpoint.data(w, "tail_columns"));
      view.tail_counts = map_or_copy<int32_t>(checkpoint.data(w, "tail_counts"));
      view_ = view;
      break;
    }
  }
}

template <class T>
PackedArrays::PackedArrays(const NmPacked<T>& packed, const ScaleGrid& scales)
    : stored_(int64_t(packed.values.size())) {
  auto view = describe<kernels::NmWeights>(packed, scales);
  view.keep = packed.pattern.keep;
  view.group = packed.pattern.group;
  view.indices = keep(packed.indices);
  view_ = view;
}

template <class T>
PackedArrays::PackedArrays(const BitmaskPacked<T>& packed, const ScaleGrid& scales)
    : stored_(int64_t(packed.values.size())) {
  auto view = describe<kernels::BitmaskWeights>(packed, scales);
  view.bitmask = keep(packed.bitmask);
  view.row_offsets = keep(packed.row_offsets);
  view_ = view;
}

template <class T>
PackedArrays::PackedArrays(const Csr<T>& packed, const ScaleGrid& scales)
    : stored_(int64_t(packed.values.size())) {
  auto view = describe<kernels::CsrWeights>(packed, scales);
  view.indices = keep(packed.indices);
  view.indptr = keep(packed.indptr);
  view_ = view;
}

template <class T>
PackedArrays::PackedArrays(const Bsr<T>& packed, const ScaleGrid& scales)
    : stored_(int64_t(packed.values.size())) {
  auto view = describe<kernels::BsrWeights>(packed, scales);
  view.block_rows = packed.block.rows;
  view.block_cols = packed.block.cols;
  view.indices = keep(packed.indices);
  view.indptr = keep(packed.indptr);
  view_ = view;
}

template <class T>
PackedArrays::PackedArrays(const WindowsPacked<T>& packed, const ScaleGrid& scales)
    : stored_(int64_t(packed.values.size())) {
  auto view = describe<kernels::WindowsWeights>(packed, scales);
  view.steps = packed.steps;
  view.columns = keep(packed.columns);
  view.tail_columns = keep(packed.tail_columns);
  view.tail_counts = keep(packed.tail_counts);
  view_ = view;
}

const kernels::Weights& PackedArrays::common() const {
  return std::visit([](const auto& view) -> const kernels::Weights& { return view; }, view_);
}

kernels::Plan PackedArrays::prepare(const kernels::PrepareOptions& options) const {
  return std::visit([&](const auto& view) { return kernels::prepare(view, options); }, view_);
}

int64_t PackedArrays::row_step() const {
  const auto* blocks = std::get_if<kernels::BsrWeights>(&view_);
  if (blocks != nullptr) return blocks->block_rows;
  return std::holds_alternative<kernels::WindowsWeights>(view_) ? kernels::kWindowRows : 1;
}

kernels::WeightType PackedArrays::expanded_type() const { return kernels::expanded_type(common()); }

void PackedArrays::expand(int64_t first, int64_t count, void* out) const {
  std::visit([&](const auto& view) { kernels::expand(view, first, count, out); }, view_);
}

size_t PackedArrays::bytes() const {
  size_t sum = 0;
  for (const auto& array : owned_) sum += array.size();
  return sum;
}

size_t PackedArrays::mapped_bytes() const {
  size_t sum = 0;
  for (const auto& array : mapped_) sum += array.size();
  return sum;
}

void PackedArrays::release_pages() const {
  for (const auto& bytes : mapped_) file_->done_with(offset_in(*file_, bytes), bytes.size());
}

template PackedArrays::PackedArrays(const NmPacked<float>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const NmPacked<bf16>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const NmPacked<f16>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const NmPacked<int8_t>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const BitmaskPacked<float>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const BitmaskPacked<bf16>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const BitmaskPacked<int8_t>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const Csr<float>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const Csr<bf16>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const Csr<int8_t>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const Bsr<float>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const Bsr<bf16>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const Bsr<int8_t>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const WindowsPacked<float>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const WindowsPacked<bf16>&, const ScaleGrid&);
template PackedArrays::PackedArrays(const WindowsPacked<int8_t>&, const ScaleGrid&);

}  // namespace prune
