#include "libprune/model/packed_layout.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <prune/error.h>
#include <prune/packed.h>
#include <prune/packed_windows.h>

#include "kernels/sparse/weights.h"
#include "libprune/io/text.h"
#include "libprune/model/scale_grid.h"

namespace prune {
namespace {

constexpr std::array<std::string_view, 5> kFormatNames = {"nm", "bitmask", "csr", "bsr", "windows"};

// Far beyond any matrix, and small enough that no product of sizes overflows.
constexpr int64_t kMostWeights = int64_t(1) << 48;

int64_t read_extent(const JsonValue& value) {
  if (!value.is_unsigned()) throw_input("an extent is not a whole number");
  if (value.number() > uint64_t(std::numeric_limits<int32_t>::max()))
    throw_input("an extent is beyond 2^31 - 1");
  return int64_t(value.number());
}

std::string_view read_text(const JsonValue& entry, const char* key) {
  const JsonValue* found = entry.find(key);
  if (found == nullptr || !found->is_string()) throw_input(std::string("no text at '") + key + "'");
  return found->text();
}

PackedFormat read_format(std::string_view text) {
  const auto found = std::ranges::find(kFormatNames, text);
  if (found == kFormatNames.end()) throw_input("format " + quote_name(text) + " is not known");
  return PackedFormat(found - kFormatNames.begin());
}

constexpr std::array<std::string_view, 4> kValueNames = {"plain", "int8", "bf16", "f16"};

StoredValues read_values(const JsonValue& entry, DType dtype) {
  if (entry.find("values") == nullptr) return StoredValues::kPlain;
  const auto found = std::ranges::find(kValueNames, read_text(entry, "values"));
  if (found == kValueNames.end() || found == kValueNames.begin())
    throw_input("its values are of an unknown kind");
  const auto values = StoredValues(found - kValueNames.begin());
  if (values != StoredValues::kInt8 && bits(dtype) <= 8) throw_input("its values are wider than its dtype");
  return values;
}

ValueRounding read_rounding(const JsonValue& entry, StoredValues values) {
  if (entry.find("rounding") == nullptr) return ValueRounding::kNearest;
  if (values != StoredValues::kInt8 || read_text(entry, "rounding") != "calibrated")
    throw_input("its rounding is of an unknown kind");
  return ValueRounding::kCalibrated;
}

// Absent: 0.
Index read_scale_group(const JsonValue& entry, StoredValues values) {
  const JsonValue* found = entry.find("scale_group");
  if (found == nullptr) return 0;
  if (values != StoredValues::kInt8) throw_input("its scale_group is not of int8 values");
  if (!found->is_unsigned() || !is_scale_group(found->number()))
    throw_input("its scale_group is not a power of two from 32 to 2^20");
  return Index(found->number());
}

Pattern read_pattern(const JsonValue& entry) {
  const std::string_view text = read_text(entry, "pattern");
  try {
    return parse_pattern(std::string(text));
  } catch (const Error&) {  // its message is for the command line, and holds the text as it is
    throw_input("pattern " + quote_name(text) + " is neither N:M nor RxC");
  }
}

Index read_steps(const JsonValue& entry, const PackedWeight& weight) {
  const JsonValue* found = entry.find("steps");
  if (found == nullptr || !found->is_unsigned() || found->number() > kWindowsColumns)
    throw_input("its steps are not 0 to 32");
  if (weight.in > kMostWindowsColumns) throw_input("its windows have more than 65536 columns");
  return Index(found->number());
}

}  // namespace

PackedWeight parse_layout_entry(const JsonValue& entry, size_t shard) {
  if (!entry.is_object()) throw_input("its entry is not an object");
  PackedWeight weight;
  weight.tensor = entry.key();
  weight.shard = shard;
  weight.format = read_format(read_text(entry, "format"));
  const auto dtype = parse_dtype(read_text(entry, "dtype"));
  if (!dtype || !is_prunable(*dtype)) throw_input("its dtype holds no weights");
  weight.dtype = *dtype;
  weight.values = read_values(entry, weight.dtype);
  weight.scale_group = read_scale_group(entry, weight.values);
  weight.rounding = read_rounding(entry, weight.values);
  const JsonValue* shape = entry.find("shape");
  if (shape == nullptr || !shape->is_array() || shape->size() != 2) throw_input("its shape is not [out, in]");
  auto extent = shape->begin();
  weight.out = read_extent(*extent);
  weight.in = read_extent(*++extent);
  if (weight.out == 0 || weight.in == 0) throw_input("its shape holds no weights");
  if (weight.out * weight.in > kMostWeights) throw_input("its shape has more than 2^48 weights");
  const std::string_view stored =
      entry.find("dense_order") != nullptr ? read_text(entry, "dense_order") : "out_in";
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

void PackedParts::add(std::string_view suffix, DType dtype, std::initializer_list<int64_t> shape) {
  PackedPart& part = parts_[count_++];
  part.suffix = suffix;
  part.dtype = dtype;
  part.rank = shape.size();
  std::ranges::copy(shape, part.extents.begin());
}

PackedParts::PackedParts(const PackedWeight& w, int64_t stored) {
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
  if (w.values != StoredValues::kInt8) return;
  if (w.scale_group == 0) {
    add("scales", DType::kF32, {w.out});
  } else {
    add("scales", DType::kF32, {w.out, scales_per_row(w.in, w.scale_group)});
  }
}

std::vector<TensorInfo> packed_tensors(const PackedWeight& weight, int64_t stored) {
  std::vector<TensorInfo> tensors;
  for (const PackedPart& part : PackedParts(weight, stored)) {
    TensorInfo& tensor = tensors.emplace_back();
    tensor.name = weight.tensor + "." + std::string(part.suffix);
    tensor.dtype = part.dtype;
    tensor.shape.assign(part.shape().begin(), part.shape().end());
  }
  return tensors;
}

uint64_t packed_bytes(const PackedWeight& weight, int64_t stored) {
  uint64_t sum = 0;
  for (const PackedPart& part : PackedParts(weight, stored)) {
    uint64_t count = 1;
    for (const int64_t extent : part.shape()) count *= uint64_t(extent);
    sum += count * uint64_t(bits(part.dtype)) / 8;
  }
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

}  // namespace prune
