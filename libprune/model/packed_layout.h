// What `prune.layout` in a packed file's metadata says of its weights. docs/formats.md is the specification.
#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <prune/matrix.h>
#include <prune/pattern.h>

#include "libprune/io/checkpoint.h"
#include "libprune/io/json_document.h"
#include "libprune/model/architecture.h"

namespace prune {

inline constexpr std::string_view kLayoutKey = "prune.layout";
inline constexpr std::string_view kVersionKey = "prune.version";

enum class PackedFormat { kNm, kBitmask, kCsr, kBsr, kWindows };
std::string_view name(PackedFormat format);               // "nm", "bitmask", "csr", "bsr", "windows"
PackedFormat parse_packed_format(std::string_view name);  // throws Error(kUsage)

// Columns that may share a scale: a power of two from 32 to 2^20.
bool is_scale_group(uint64_t columns);

// How a packed weight's values are stored: in the weight's own type, as int8 with a scale per output row or
// group of its columns, or rounded to another type of 16 bits.
enum class StoredValues { kPlain, kInt8, kBf16, kF16 };
std::string_view name(StoredValues values);  // "plain", "int8", "bf16", "f16"
// How weights became int8: each for itself, or so that later ones make up for it.
enum class ValueRounding { kNearest, kCalibrated };

// One packed weight, as the layout describes it.
struct PackedWeight {
  std::string tensor;  // the dense tensor it stands for, "model.layers.0.mlp.up_proj.weight"
  PackedFormat format = PackedFormat::kNm;
  DType dtype = DType::kBF16;  // of the dense weight
  StoredValues values = StoredValues::kPlain;
  Index scale_group = 0;  // of int8 values: columns that share a scale; 0: whole rows do
  ValueRounding rounding = ValueRounding::kNearest;
  Index out = 0;
  Index in = 0;
  NM nm;                                          // kNm
  Block block;                                    // kBsr
  Index steps = 0;                                // kWindows: places of a row in every window
  Orientation orientation = Orientation::kOutIn;  // of the dense tensor in its file
  size_t shard = 0;

  DType stored_dtype() const;
  std::vector<int64_t> dense_shape() const;  // as in the dense file
  uint64_t dense_bytes() const { return uint64_t(out) * uint64_t(in) * uint64_t(bits(dtype)) / 8; }
};

// "nm 2:4", "bsr 16x16", "bitmask", "csr", "windows 4"; with " bf16", " f16", " int8", or " int8/128" where
// 128 columns share a scale, behind where values are.
std::string format_in_words(const PackedWeight& weight);

// One of the tensors that hold a packed weight.
struct PackedPart {
  std::string_view suffix;  // of its name, behind the dense tensor's and a dot
  DType dtype = DType::kU8;
  std::array<int64_t, 3> extents = {};
  size_t rank = 0;

  std::span<const int64_t> shape() const { return std::span(extents).first(rank); }
};

// Those of a weight, in the order of the file.
class PackedParts {
 public:
  // `stored` is the number of values (nm: ignored; windows: empty places among them), or of blocks (bsr).
  PackedParts(const PackedWeight& weight, int64_t stored);

  const PackedPart* begin() const { return parts_.data(); }
  const PackedPart* end() const { return parts_.data() + count_; }

 private:
  void add(std::string_view suffix, DType dtype, std::initializer_list<int64_t> shape);

  std::array<PackedPart, 5> parts_;
  size_t count_ = 0;
};

// The same as tensors of a file.
std::vector<TensorInfo> packed_tensors(const PackedWeight& weight, int64_t stored);
// Their bytes together.
uint64_t packed_bytes(const PackedWeight& weight, int64_t stored);
// Weights that have a value there, zeros and the empty places of windows among them.
int64_t stored_weights(const PackedWeight& weight, int64_t stored);

nlohmann::json layout_json(const std::vector<PackedWeight>& weights);
// One entry of a layout, checked as far as it says everything that its format needs, with extents that no
// product of sizes overflows. Throws Error(kInput), which does not name the tensor.
PackedWeight parse_layout_entry(const JsonValue& entry, size_t shard);

}  // namespace prune
