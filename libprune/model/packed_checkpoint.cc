#include "libprune/model/packed_checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include <prune/error.h>
#include <prune/float8.h>

#include "kernels/sparse/weights.h"
#include "libprune/io/json.h"
#include "libprune/io/text.h"
#include "libprune/model/quantized_values.h"

namespace prune {
namespace {

constexpr std::array<std::string_view, 5> kFormatNames = {"nm", "bitmask", "csr", "bsr", "windows"};

// Far beyond any matrix, and small enough that no product of sizes overflows.
constexpr int64_t kMostWeights = int64_t(1) << 48;

// CSR and BSR say nothing about columns that are all zero, so a file of a few bytes could claim terabytes. A
// dense matrix may take this much whatever its file does, and beyond it this many bytes for each of the
// file's.
constexpr uint64_t kDenseAllowance = uint64_t(1) << 28;
constexpr uint64_t kMostExpansion = 1 << 16;

TensorInfo tensor(const PackedWeight& weight, std::string_view suffix, DType dtype,
                  std::vector<int64_t> shape) {
  TensorInfo info;
  info.name = weight.tensor + "." + std::string(suffix);
  info.dtype = dtype;
  info.shape = std::move(shape);
  return info;
}

int64_t read_extent(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) throw_input("an extent is not a whole number");
  const uint64_t extent = value.get<uint64_t>();
  if (extent > uint64_t(std::numeric_limits<int32_t>::max())) throw_input("an extent is beyond 2^31 - 1");
  return int64_t(extent);
}

const std::string& read_text(const nlohmann::json& entry, const char* key) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_string()) throw_input(std::string("no text at '") + key + "'");
  return found->get_ref<const std::string&>();
}

PackedFormat read_format(const std::string& text) {
  const auto found = std::ranges::find(kFormatNames, std::string_view(text));
  if (found == kFormatNames.end()) throw_input("format " + quote_name(text) + " is not known");
  return PackedFormat(found - kFormatNames.begin());
}

constexpr std::array<std::string_view, 4> kValueNames = {"plain", "int8", "bf16", "f16"};

StoredValues read_values(const nlohmann::json& entry, DType dtype) {
  if (!entry.contains("values")) return StoredValues::kPlain;
  const auto found = std::ranges::find(kValueNames, std::string_view(read_text(entry, "values")));
  if (found == kValueNames.end() || found == kValueNames.begin())
    throw_input("its values are of an unknown kind");
  const auto values = StoredValues(found - kValueNames.begin());
  if (values != StoredValues::kInt8 && bits(dtype) <= 8) throw_input("its values are wider than its dtype");
  return values;
}

ValueRounding read_rounding(const nlohmann::json& entry, StoredValues values) {
  if (!entry.contains("rounding")) return ValueRounding::kNearest;
  if (values != StoredValues::kInt8 || read_text(entry, "rounding") != "calibrated")
    throw_input("its rounding is of an unknown kind");
  return ValueRounding::kCalibrated;
}

// Absent: 0.
Index read_scale_group(const nlohmann::json& entry, StoredValues values) {
  const auto found = entry.find("scale_group");
  if (found == entry.end()) return 0;
  if (values != StoredValues::kInt8) throw_input("its scale_group is not of int8 values");
  if (!found->is_number_unsigned() || !is_scale_group(found->get<uint64_t>()))
    throw_input("its scale_group is not a power of two from 32 to 2^20");
  return Index(found->get<uint64_t>());
}

Pattern read_pattern(const nlohmann::json& entry) {
  const std::string& text = read_text(entry, "pattern");
  try {
    return parse_pattern(text);
  } catch (const Error&) {  // its message is for the command line, and holds the text as it is
    throw_input("pattern " + quote_name(text) + " is neither N:M nor RxC");
  }
}

Index read_steps(const nlohmann::json& entry, const PackedWeight& weight) {
  const auto found = entry.find("steps");
  if (found == entry.end() || !found->is_number_unsigned() || found->get<uint64_t>() > kWindowsColumns)
    throw_input("its steps are not 0 to 32");
  if (weight.in > kMostWindowsColumns) throw_input("its windows have more than 65536 columns");
  return Index(found->get<uint64_t>());
}

PackedWeight parse_entry(const std::string& name, const nlohmann::json& entry, size_t shard) {
  if (!entry.is_object()) throw_input("its entry is not an object");
  PackedWeight weight;
  weight.tensor = name;
  weight.shard = shard;
  weight.format = read_format(read_text(entry, "format"));
  const auto dtype = parse_dtype(read_text(entry, "dtype"));
  if (!dtype || !is_prunable(*dtype)) throw_input("its dtype holds no weights");
  weight.dtype = *dtype;
  weight.values = read_values(entry, weight.dtype);
  weight.scale_group = read_scale_group(entry, weight.values);
  weight.rounding = read_rounding(entry, weight.values);
  const auto shape = entry.find("shape");
  if (shape == entry.end() || !shape->is_array() || shape->size() != 2)
    throw_input("its shape is not [out, in]");
  weight.out = read_extent(shape->at(0));
  weight.in = read_extent(shape->at(1));
  if (weight.out == 0 || weight.in == 0) throw_input("its shape holds no weights");
  if (weight.out * weight.in > kMostWeights) throw_input("its shape has more than 2^48 weights");
  const std::string stored = entry.contains("dense_order") ? read_text(entry, "dense_order") : "out_in";
  if (stored != "out_in" && stored != "in_out") throw_input("its dense_order is neither out_in nor in_out");
  weight.orientation = stored == "in_out" ? Orientation::kInOut : Orientation::kOutIn;
  if (weight.format == PackedFormat::kNm || weight.format == PackedFormat::kBsr) {
    const Pattern pattern = read_pattern(entry);
    const NM* nm = std::get_if<NM>(&pattern);
    const Block* block = std::get_if<Block>(&pattern);
    if (weight.format == PackedFormat::kNm ? nm == nullptr : block == nullptr)
      throw_input("its pattern is not its format's");
    if (nm) weight.nm = *nm;
    if (block) weight.block = *block;
    require_fit(pattern, weight.out, weight.in);
  }
  if (weight.format == PackedFormat::kWindows) weight.steps = read_steps(entry, weight);
  return weight;
}

// 0 = offsets[0] <= offsets[1] <= ... <= offsets[n] = total.
void check_offsets(const std::vector<int64_t>& offsets, int64_t total, const char* what) {
  if (offsets.front() != 0) throw_input(std::string(what) + "[0] is not 0");
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1])
      throw_input(std::string(what) + "[" + std::to_string(i) + "] is below the one before it");
  }
  if (offsets.back() != total) {
    throw_input(std::string("the last of ") + what + " is " + std::to_string(offsets.back()) + ", not the " +
                std::to_string(total) + " that are stored");
  }
}

// Within each row the indices ascend and are below `limit`.
void check_indices(const std::vector<int32_t>& indices, const std::vector<int64_t>& indptr, int64_t limit) {
  for (size_t row = 0; row + 1 < indptr.size(); ++row) {
    int64_t previous = -1;
    for (int64_t t = indptr[row]; t < indptr[row + 1]; ++t) {
      const int64_t index = indices[size_t(t)];
      if (index < 0 || index >= limit) {
        throw_input("indices[" + std::to_string(t) + "] is " + std::to_string(index) + ", out of 0.." +
                    std::to_string(limit - 1));
      }
      if (index <= previous) throw_input("indices[" + std::to_string(t) + "] does not ascend in its row");
      previous = index;
    }
  }
}

// The first row of which `is_sound` is false, or `rows`: what is large is looked through on all threads, and
// only a row at fault is described.
template <class IsSound>
Index first_faulty(Index rows, const IsSound& is_sound) {
  Index first = rows;
#pragma omp parallel for reduction(min : first)
  for (Index i = 0; i < rows; ++i) {
    if (i < first && !is_sound(i)) first = i;
  }
  return first;
}

// Bytes of two 2:4 groups whose indices ascend.
constexpr std::array<bool, 256> make_sound24() {
  std::array<bool, 256> sound{};
  for (unsigned byte = 0; byte < 256; ++byte)
    sound[byte] = (byte & 3) < (byte >> 2 & 3) && (byte >> 4 & 3) < byte >> 6;
  return sound;
}

bool is_sound24(const uint8_t* row, Index groups) {
  static constexpr std::array<bool, 256> kSound = make_sound24();
  bool sound = true;
  for (Index b = 0; b < groups / 2; ++b) sound &= kSound[row[b]];
  // A group alone: nothing is in the upper half of its byte.
  return sound && (groups % 2 == 0 || (row[groups / 2] < 16 && kSound[row[groups / 2] | 0x40]));
}

void check_nm_row(const PackedWeight& weight, const uint8_t* row, Index i) {
  const auto [keep, group] = weight.nm;
  const int width = index_bits(group);
  const Index kept = weight.in / group * keep;
  int previous = -1;
  for (Index t = 0; t < kept; ++t) {
    if (t % keep == 0) previous = -1;
    const int index = int(detail::get_bits(row, t * width, width));
    if (index <= previous || index >= group) {
      throw_input("row " + std::to_string(i) + ", group " + std::to_string(t / keep) + ": index " +
                  std::to_string(index) + (index >= group ? " is outside the group" : " does not ascend"));
    }
    previous = index;
  }
  const Index used_bits = kept * width;
  if (used_bits % 8 != 0 && row[used_bits / 8] >> (used_bits % 8) != 0) {
    throw_input("row " + std::to_string(i) + ": bits behind the last index are set");
  }
}

void check_nm_indices(const PackedWeight& weight, std::span<const std::byte> bytes) {
  const auto* indices = reinterpret_cast<const uint8_t*>(bytes.data());
  const Index row_bytes = index_bytes_per_row(weight.nm, weight.in);
  Index i = 0;
  if (weight.nm == NM{2, 4})
    i = first_faulty(weight.out, [&](Index r) { return is_sound24(indices + r * row_bytes, weight.in / 4); });
  for (; i < weight.out; ++i) check_nm_row(weight, indices + i * row_bytes, i);
}

int64_t count_bits(const uint8_t* row, Index bytes) {
  int64_t set = 0;
  Index b = 0;
  for (; b + 8 <= bytes; b += 8) {
    uint64_t word;
    std::memcpy(&word, row + b, sizeof word);
    set += std::popcount(word);
  }
  for (; b < bytes; ++b) set += std::popcount(row[b]);
  return set;
}

void check_bitmask(const PackedWeight& weight, std::span<const std::byte> bytes,
                   const std::vector<int64_t>& offsets) {
  const auto* bitmask = reinterpret_cast<const uint8_t*>(bytes.data());
  const Index row_bytes = (weight.in + 7) / 8;
  const auto set = [&](Index i) { return count_bits(bitmask + i * row_bytes, row_bytes); };
  const auto stored = [&](Index i) { return offsets[size_t(i) + 1] - offsets[size_t(i)]; };
  const auto has_bits_behind = [&](Index i) {
    return weight.in % 8 != 0 && bitmask[(i + 1) * row_bytes - 1] >> (weight.in % 8) != 0;
  };
  const Index i =
      first_faulty(weight.out, [&](Index r) { return !has_bits_behind(r) && set(r) == stored(r); });
  if (i == weight.out) return;
  if (has_bits_behind(i)) throw_input("row " + std::to_string(i) + ": bits behind the last column are set");
  throw_input("row " + std::to_string(i) + ": " + std::to_string(set(i)) + " bits are set, " +
              std::to_string(stored(i)) + " values are stored");
}

static_assert(kWindowsRows == kernels::kWindowRows && kWindowsColumns == kernels::kWindow &&
              kWindowsTailUnit == kernels::kTailUnit && kMostWindowsColumns == kernels::kMostWindowCols);

void check_windows(const kernels::WindowsWeights& w, int64_t value_bytes, int64_t stored) {
  if (const char* fault = kernels::find_shape_fault(w, value_bytes, stored)) throw_input(fault);
  const std::vector<int64_t> tails = kernels::tail_starts(w);
  const auto fault_of = [&](Index g) {
    return kernels::find_group_fault(w, value_bytes, g, tails[size_t(g)]);
  };
  const Index groups = kernels::window_groups(w);
  const Index g = first_faulty(groups, [&](Index group) { return fault_of(group) == nullptr; });
  if (g == groups) return;
  throw_input("rows " + std::to_string(g * kWindowsRows) + " to " +
              std::to_string(std::min((g + 1) * kWindowsRows, Index(w.rows)) - 1) + ": " + fault_of(g));
}

void check_scales(const std::vector<float>& scales) {
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i]) || scales[i] < 0)
      throw_input("scales[" + std::to_string(i) + "] is negative or not finite");
  }
}

}  // namespace

bool is_scale_group(uint64_t columns) {
  constexpr uint64_t kLargest = uint64_t{1} << 20;  // of the format
  return columns <= kLargest && kernels::is_scale_group(int64_t(columns));
}

std::string_view name(StoredValues values) { return kValueNames[size_t(values)]; }

DType PackedWeight::stored_dtype() const {
  switch (values) {
    case StoredValues::kInt8:
      return DType::kI8;
    case StoredValues::kBf16:
      return DType::kBF16;
    case StoredValues::kF16:
      return DType::kF16;
    case StoredValues::kPlain:
      break;
  }
  return dtype;
}

std::string_view name(PackedFormat format) { return kFormatNames[size_t(format)]; }

PackedFormat parse_packed_format(std::string_view text) {
  const auto found = std::ranges::find(kFormatNames, text);
  if (found == kFormatNames.end()) {
    throw_usage("format '" + std::string(text.substr(0, 40)) +
                "': expected smallest, auto, nm, bitmask, csr, bsr or windows");
  }
  return PackedFormat(found - kFormatNames.begin());
}

std::string format_in_words(const PackedWeight& weight) {
  std::string words(name(weight.format));
  if (weight.format == PackedFormat::kNm) words += " " + to_string(Pattern(weight.nm));
  if (weight.format == PackedFormat::kBsr) words += " " + to_string(Pattern(weight.block));
  if (weight.format == PackedFormat::kWindows) words += " " + std::to_string(weight.steps);
  if (weight.values != StoredValues::kPlain) words += " " + std::string(name(weight.values));
  if (weight.scale_group != 0) words += "/" + std::to_string(weight.scale_group);
  return words;
}

std::vector<int64_t> PackedWeight::dense_shape() const {
  return orientation == Orientation::kInOut ? std::vector<int64_t>{in, out} : std::vector<int64_t>{out, in};
}

std::vector<TensorInfo> packed_tensors(const PackedWeight& w, int64_t stored) {
  std::vector<TensorInfo> tensors;
  const auto add = [&](std::string_view suffix, DType dtype, std::vector<int64_t> shape) {
    tensors.push_back(tensor(w, suffix, dtype, std::move(shape)));
  };
  switch (w.format) {
    case PackedFormat::kNm:
      add("values", w.stored_dtype(), {w.out, w.in / w.nm.group * w.nm.keep});
      add("indices", DType::kU8, {w.out, index_bytes_per_row(w.nm, w.in)});
      break;
    case PackedFormat::kBitmask:
      add("values", w.stored_dtype(), {stored});
      add("bitmask", DType::kU8, {w.out, (w.in + 7) / 8});
      add("row_offsets", DType::kI64, {w.out + 1});
      break;
    case PackedFormat::kCsr:
      add("values", w.stored_dtype(), {stored});
      add("indices", DType::kI32, {stored});
      add("indptr", DType::kI64, {w.out + 1});
      break;
    case PackedFormat::kBsr:
      add("values", w.stored_dtype(), {stored, w.block.rows, w.block.cols});
      add("indices", DType::kI32, {stored});
      add("indptr", DType::kI64, {w.out / w.block.rows + 1});
      break;
    case PackedFormat::kWindows: {
      const int64_t places = windows_places(w.out, w.in, w.steps);
      add("values", w.stored_dtype(), {stored});
      add("columns", DType::kU8, {places});
      add("tail_columns", DType::kU16, {std::max<int64_t>(0, stored - places)});
      add("tail_counts", DType::kI32, {windows_groups(w.out) * kWindowsRows});
      break;
    }
  }
  if (w.values == StoredValues::kInt8) {
    add("scales", DType::kF32,
        w.scale_group == 0 ? std::vector<int64_t>{w.out}
                           : std::vector<int64_t>{w.out, scales_per_row(w.in, w.scale_group)});
  }
  return tensors;
}

uint64_t packed_bytes(const PackedWeight& weight, int64_t stored) {
  uint64_t sum = 0;
  for (const TensorInfo& t : packed_tensors(weight, stored))
    sum += uint64_t(t.numel()) * uint64_t(bits(t.dtype)) / 8;
  return sum;
}

int64_t stored_weights(const PackedWeight& weight, int64_t stored) {
  if (weight.format == PackedFormat::kNm)
    return int64_t{weight.out} * weight.in / weight.nm.group * weight.nm.keep;
  return weight.format == PackedFormat::kBsr ? stored * weight.block.rows * weight.block.cols : stored;
}

nlohmann::json layout_json(const std::vector<PackedWeight>& weights) {
  nlohmann::json layout = nlohmann::json::object();
  for (const PackedWeight& w : weights) {
    nlohmann::json entry = {{"format", name(w.format)}, {"dtype", name(w.dtype)}, {"shape", {w.out, w.in}}};
    if (w.values != StoredValues::kPlain) entry["values"] = name(w.values);
    if (w.scale_group != 0) entry["scale_group"] = w.scale_group;
    if (w.rounding == ValueRounding::kCalibrated) entry["rounding"] = "calibrated";
    if (w.format == PackedFormat::kNm) entry["pattern"] = to_string(Pattern(w.nm));
    if (w.format == PackedFormat::kBsr) entry["pattern"] = to_string(Pattern(w.block));
    if (w.format == PackedFormat::kWindows) entry["steps"] = w.steps;
    if (w.orientation == Orientation::kInOut) entry["dense_order"] = "in_out";
    layout[w.tensor] = std::move(entry);
  }
  return layout;
}

bool PackedCheckpoint::is_packed(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.shards(),
                             [](const auto& shard) { return shard.find_metadata(kLayoutKey) != nullptr; });
}

PackedCheckpoint::PackedCheckpoint(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    const std::string* layout = checkpoint.shards()[shard].find_metadata(kLayoutKey);
    if (layout != nullptr) read_layout(shard, *layout);
  }
  for (size_t i = 0; i < weights_.size(); ++i) {
    check_tensors(weights_[i]);
    by_tensor_.emplace(weights_[i].tensor, i);
    for (const TensorInfo& t : packed_tensors(weights_[i], 0)) by_tensor_.emplace(t.name, i);
  }
}

void PackedCheckpoint::read_layout(size_t shard, const std::string& text) {
  const std::string where = shown(checkpoint_.shard_name(shard)) + ": " + std::string(kLayoutKey);
  const nlohmann::json layout = parse_json(text, where);
  if (!layout.is_object()) throw_input(where + " is not a JSON object");
  for (const auto& [tensor, entry] : layout.items()) {
    try {
      weights_.push_back(parse_entry(tensor, entry, shard));
    } catch (const Error& fault) {
      throw_input(where + ": tensor " + quote_name(tensor) + ": " + fault.what());
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
  for (const TensorInfo& expected : packed_tensors(weight, stored)) {
    const TensorInfo& found =
        component(weight, std::string_view(expected.name).substr(weight.tensor.size() + 1));
    if (found.dtype != expected.dtype || found.shape != expected.shape) {
      refuse(weight, quote_name(expected.name) + " has not the type and shape of its format");
    }
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
  const auto found = by_tensor_.find(std::string(dense_name));
  return found == by_tensor_.end() || weights_[found->second].tensor != dense_name ? nullptr
                                                                                   : &weights_[found->second];
}

const PackedWeight* PackedCheckpoint::owner(std::string_view tensor_name) const {
  const auto found = by_tensor_.find(std::string(tensor_name));
  return found == by_tensor_.end() ? nullptr : &weights_[found->second];
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
  const std::span<const std::byte> bytes = data(weight, suffix);
  std::vector<T> copy(bytes.size() / sizeof(T));
  if (!copy.empty()) std::memcpy(static_cast<void*>(copy.data()), bytes.data(), copy.size() * sizeof(T));
  return copy;
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
    case PackedFormat::kWindows: {
      const auto tail_columns = array<uint16_t>(weight, "tail_columns");
      const auto tail_counts = array<int32_t>(weight, "tail_counts");
      kernels::WindowsWeights view;
      view.rows = weight.out;
      view.cols = weight.in;
      view.steps = weight.steps;
      view.values = data(weight, "values").data();
      view.columns = reinterpret_cast<const uint8_t*>(data(weight, "columns").data());
      view.tail_columns = tail_columns.data();
      view.tail_counts = tail_counts.data();
      return check_windows(view, bits(weight.stored_dtype()) / 8, stored(weight));
    }
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
