#include "libprune/model/packed_checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <prune/error.h>
#include <prune/float8.h>

#include "libprune/io/json.h"
#include "libprune/io/text.h"
#include "libprune/model/packed_checks.h"
#include "libprune/model/quantized_values.h"

namespace prune {
namespace {

// CSR and BSR say nothing about columns that are all zero, so a file of a few bytes could claim terabytes. A
// dense matrix may take this much whatever its file does, and beyond it this many bytes for each of the
// file's.
constexpr uint64_t kDenseAllowance = uint64_t(1) << 28;
constexpr uint64_t kMostExpansion = 1 << 16;

template <class T>
std::vector<T> copy(std::span<const std::byte> bytes) {
  std::vector<T> array(bytes.size() / sizeof(T));
  if (!array.empty()) std::memcpy(static_cast<void*>(array.data()), bytes.data(), array.size() * sizeof(T));
  return array;
}

int64_t value_bytes(const PackedWeight& weight) { return bits(weight.stored_dtype()) / 8; }

// The bytes where they lie, or, misaligned, as they were copied to `copied`.
template <class T>
const T* aligned(std::span<const std::byte> bytes, std::vector<T>& copied) {
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) == 0)
    return reinterpret_cast<const T*>(bytes.data());
  copied = copy<T>(bytes);
  return copied.data();
}

// The arrays of windows for checks.
class WindowsView {
 public:
  WindowsView(const PackedCheckpoint& packed, const PackedWeight& weight) {
    weights_.rows = weight.out;
    weights_.cols = weight.in;
    weights_.steps = weight.steps;
    weights_.values = packed.data(weight, "values").data();
    weights_.columns = reinterpret_cast<const uint8_t*>(packed.data(weight, "columns").data());
    weights_.tail_columns = aligned(packed.data(weight, "tail_columns"), tail_columns_);
    weights_.tail_counts = aligned(packed.data(weight, "tail_counts"), tail_counts_);
  }
  const kernels::WindowsWeights& weights() const { return weights_; }

 private:
  std::vector<uint16_t> tail_columns_;  // where the file's is misaligned
  std::vector<int32_t> tail_counts_;
  kernels::WindowsWeights weights_;
};

}  // namespace

bool PackedCheckpoint::is_packed(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.shards(),
                             [](const auto& shard) { return shard.find_metadata(kLayoutKey) != nullptr; });
}

PackedCheckpoint::PackedCheckpoint(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    const std::string* layout = checkpoint.shards()[shard].find_metadata(kLayoutKey);
    if (layout != nullptr) read_layout(shard, *layout);
  }
  by_name_ = NameTable<size_t>(weights_.size());
  for (size_t i = 0; i < weights_.size(); ++i) {
    check_tensors(weights_[i]);
    by_name_.insert(weights_[i].tensor, i);
  }
}

void PackedCheckpoint::read_layout(size_t shard, const std::string& text) {
  const std::string where = shown(checkpoint_.shard_name(shard)) + ": " + std::string(kLayoutKey);
  const JsonDocument layout(text, where);
  if (!layout.root().is_object()) throw_input(where + " is not a JSON object");
  for (const JsonValue& entry : layout.root()) {
    try {
      weights_.push_back(parse_layout_entry(entry, shard));
    } catch (const Error& fault) {
      throw_input(where + ": tensor " + quote_name(entry.key()) + ": " + fault.what());
    }
  }
}

// Every component with the type and shape of the format, for the number of values (or blocks) that `values`
// has.
void PackedCheckpoint::check_tensors(const PackedWeight& weight) const {
  if (checkpoint_.find(weight.tensor)) refuse(weight, "is there dense and packed");
  const TensorInfo& values = component(weight, "values");
  const int64_t stored = values.shape.empty() ? 0 : values.shape[0];
  const bool may_expand = weight.format == PackedFormat::kCsr || weight.format == PackedFormat::kBsr ||
                          weight.format == PackedFormat::kWindows;
  for (const PackedPart& expected : PackedParts(weight, stored)) {
    const TensorInfo& found = component(weight, expected.suffix);
    if (found.dtype != expected.dtype || !std::ranges::equal(found.shape, expected.shape()))
      refuse(weight, quote_name(found.name) + " has not the type and shape of its format");
  }
  if (may_expand && weight.dense_bytes() > std::max(kDenseAllowance, kMostExpansion * bytes(weight))) {
    refuse(weight, "its shape is out of proportion to what is stored");
  }
}

const TensorInfo& PackedCheckpoint::component(const PackedWeight& weight, std::string_view suffix) const {
  const TensorInfo* found =
      checkpoint_.shards()[weight.shard].find(weight.tensor + "." + std::string(suffix));
  if (found == nullptr) refuse(weight, "its '" + std::string(suffix) + "' is missing");
  return *found;
}

void PackedCheckpoint::refuse(const PackedWeight& weight, const std::string& fault) const {
  throw_input(shown(checkpoint_.shard_name(weight.shard)) + ": packed tensor " + quote_name(weight.tensor) +
              ": " + fault);
}

const PackedWeight* PackedCheckpoint::find(std::string_view dense_name) const {
  const size_t* found = by_name_.find(dense_name);
  return found == nullptr ? nullptr : &weights_[*found];
}

const PackedWeight* PackedCheckpoint::owner(std::string_view tensor_name) const {
  const size_t dot = tensor_name.rfind('.');
  const PackedWeight* weight = dot == tensor_name.npos ? nullptr : find(tensor_name.substr(0, dot));
  if (weight == nullptr) return nullptr;
  const PackedParts parts(*weight, 0);
  const bool is_part = std::any_of(parts.begin(), parts.end(), [&](const PackedPart& part) {
    return part.suffix == tensor_name.substr(dot + 1);
  });
  return is_part ? weight : nullptr;
}

uint64_t PackedCheckpoint::bytes(const PackedWeight& weight) const {
  return packed_bytes(weight, stored(weight));
}

int64_t PackedCheckpoint::stored(const PackedWeight& weight) const {
  const TensorInfo& values = component(weight, "values");
  return weight.format == PackedFormat::kNm ? values.numel() : values.shape[0];
}

int64_t PackedCheckpoint::kept(const PackedWeight& weight) const {
  if (weight.format != PackedFormat::kWindows) return stored_weights(weight, stored(weight));
  const std::span<const std::byte> values = data(weight, "values");
  const size_t size = size_t(bits(weight.stored_dtype())) / 8;
  int64_t count = 0;
  for (size_t at = 0; at < values.size(); at += size) {
    count += std::ranges::any_of(values.subspan(at, size), [](std::byte b) { return b != std::byte{0}; });
  }
  return count;
}

std::span<const std::byte> PackedCheckpoint::data(const PackedWeight& weight, std::string_view suffix) const {
  return checkpoint_.shards()[weight.shard].data(component(weight, suffix));
}

ScaleGrid PackedCheckpoint::scales(const PackedWeight& weight) const {
  return {weight.scale_group, scales_per_row(weight.in, weight.scale_group), array<float>(weight, "scales")};
}

template <class T>
std::vector<T> PackedCheckpoint::array(const PackedWeight& weight, std::string_view suffix) const {
  return copy<T>(data(weight, suffix));
}

// As T, into which values of another type are rounded.
template <class T>
std::vector<T> PackedCheckpoint::values(const PackedWeight& weight) const {
  const auto converted = [&]<class Stored>(Stored) {
    std::vector<T> values;
    for (const Stored value : array<Stored>(weight, "values")) values.push_back(T(float(value)));
    return values;
  };
  if constexpr (sizeof(T) > 1) {
    if (weight.values == StoredValues::kBf16) return converted(bf16());
    if (weight.values == StoredValues::kF16) return converted(f16());
  }
  return array<T>(weight, "values");
}

void PackedCheckpoint::check(const PackedWeight& weight) const {
  try {
    if (weight.values == StoredValues::kInt8) check_scales(scales(weight).values);
    check_places(weight);
  } catch (const Error& fault) {
    refuse(weight, fault.what());
  }
}

void PackedCheckpoint::check_places(const PackedWeight& weight) const {
  switch (weight.format) {
    case PackedFormat::kNm:
      return check_nm_indices(weight, data(weight, "indices"));
    case PackedFormat::kBitmask: {
      const auto offsets = array<int64_t>(weight, "row_offsets");
      check_offsets(offsets, stored(weight), "row_offsets");
      return check_bitmask(weight, data(weight, "bitmask"), offsets);
    }
    case PackedFormat::kCsr:
    case PackedFormat::kBsr: {
      const auto indptr = array<int64_t>(weight, "indptr");
      check_offsets(indptr, stored(weight), "indptr");
      const Index width = weight.format == PackedFormat::kBsr ? weight.block.cols : 1;
      return check_indices(array<int32_t>(weight, "indices"), indptr, weight.in / width);
    }
    case PackedFormat::kWindows:
      return check_windows(WindowsView(*this, weight).weights(), value_bytes(weight), stored(weight));
  }
}

template <class T>
NmPacked<T> PackedCheckpoint::nm(const PackedWeight& w) const {
  if constexpr (!std::is_same_v<T, int8_t>) {
    if (w.values == StoredValues::kInt8) return dequantize<T>(nm<int8_t>(w), scales(w));
  }
  return {w.nm, w.out, w.in, values<T>(w), array<uint8_t>(w, "indices")};
}
template <class T>
BitmaskPacked<T> PackedCheckpoint::bitmask(const PackedWeight& w) const {
  if constexpr (!std::is_same_v<T, int8_t>) {
    if (w.values == StoredValues::kInt8) return dequantize<T>(bitmask<int8_t>(w), scales(w));
  }
  return {w.out, w.in, values<T>(w), array<uint8_t>(w, "bitmask"), array<int64_t>(w, "row_offsets")};
}
template <class T>
Csr<T> PackedCheckpoint::csr(const PackedWeight& w) const {
  if constexpr (!std::is_same_v<T, int8_t>) {
    if (w.values == StoredValues::kInt8) return dequantize<T>(csr<int8_t>(w), scales(w));
  }
  return {w.out, w.in, values<T>(w), array<int32_t>(w, "indices"), array<int64_t>(w, "indptr")};
}
template <class T>
Bsr<T> PackedCheckpoint::bsr(const PackedWeight& w) const {
  if constexpr (!std::is_same_v<T, int8_t>) {
    if (w.values == StoredValues::kInt8) return dequantize<T>(bsr<int8_t>(w), scales(w));
  }
  return {w.block, w.out, w.in, values<T>(w), array<int32_t>(w, "indices"), array<int64_t>(w, "indptr")};
}

template <class T>
WindowsPacked<T> PackedCheckpoint::windows(const PackedWeight& w) const {
  if constexpr (!std::is_same_v<T, int8_t>) {
    if (w.values == StoredValues::kInt8) return dequantize<T>(windows<int8_t>(w), scales(w));
  }
  return {w.steps,
          w.out,
          w.in,
          values<T>(w),
          array<uint8_t>(w, "columns"),
          array<uint16_t>(w, "tail_columns"),
          array<int32_t>(w, "tail_counts")};
}

template <class T>
Matrix<T> PackedCheckpoint::unpack(const PackedWeight& w) const {
  check(w);
  switch (w.format) {
    case PackedFormat::kNm:
      return prune::unpack(nm<T>(w));
    case PackedFormat::kBitmask:
      return prune::unpack(bitmask<T>(w));
    case PackedFormat::kCsr:
      return prune::unpack(csr<T>(w));
    case PackedFormat::kBsr:
      return prune::unpack(bsr<T>(w));
    case PackedFormat::kWindows:
      return prune::unpack(windows<T>(w));
  }
  return {};
}

#define PRUNE_INSTANTIATE(T)                                                      \
  template NmPacked<T> PackedCheckpoint::nm(const PackedWeight&) const;           \
  template BitmaskPacked<T> PackedCheckpoint::bitmask(const PackedWeight&) const; \
  template Csr<T> PackedCheckpoint::csr(const PackedWeight&) const;               \
  template Bsr<T> PackedCheckpoint::bsr(const PackedWeight&) const;               \
  template WindowsPacked<T> PackedCheckpoint::windows(const PackedWeight&) const; \
  template Matrix<T> PackedCheckpoint::unpack(const PackedWeight&) const;
template NmPacked<int8_t> PackedCheckpoint::nm(const PackedWeight&) const;
template BitmaskPacked<int8_t> PackedCheckpoint::bitmask(const PackedWeight&) const;
template Csr<int8_t> PackedCheckpoint::csr(const PackedWeight&) const;
template Bsr<int8_t> PackedCheckpoint::bsr(const PackedWeight&) const;
template WindowsPacked<int8_t> PackedCheckpoint::windows(const PackedWeight&) const;
PRUNE_INSTANTIATE(double)
PRUNE_INSTANTIATE(float)
PRUNE_INSTANTIATE(f16)
PRUNE_INSTANTIATE(bf16)
PRUNE_INSTANTIATE(f8_e4m3)
PRUNE_INSTANTIATE(f8_e5m2)
#undef PRUNE_INSTANTIATE

}  // namespace prune
