// Packed checkpoints: safetensors files whose linear weights are stored sparse, described by `prune.layout`
// in each file's metadata. docs/formats.md is the specification.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <prune/packed_windows.h>

#include "libprune/io/checkpoint.h"
#include "libprune/model/architecture.h"
#include "libprune/model/scale_grid.h"

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

// The tensors that hold a packed weight, in the order of the file. `stored` is the number of values (nm:
// ignored; windows: empty places among them), or of blocks (bsr).
std::vector<TensorInfo> packed_tensors(const PackedWeight& weight, int64_t stored);
// Their bytes together.
uint64_t packed_bytes(const PackedWeight& weight, int64_t stored);
// Weights that have a value there, zeros and the empty places of windows among them.
int64_t stored_weights(const PackedWeight& weight, int64_t stored);

nlohmann::json layout_json(const std::vector<PackedWeight>& weights);

class PackedCheckpoint {
 public:
  // True when a shard carries a layout.
  static bool is_packed(const Checkpoint& checkpoint);

  // Reads the layouts and checks that every tensor they name is there with the type and shape that the format
  // asks for. Values and indices are checked by check(). Keeps a reference to the checkpoint. Throws
  // Error(kInput).
  explicit PackedCheckpoint(const Checkpoint& checkpoint);

  const Checkpoint& checkpoint() const { return checkpoint_; }
  const std::vector<PackedWeight>& weights() const { return weights_; }
  const PackedWeight* find(std::string_view dense_name) const;
  // The packed weight that a tensor of the file is part of; nullptr for a tensor that is stored as it is.
  const PackedWeight* owner(std::string_view tensor_name) const;
  uint64_t bytes(const PackedWeight& weight) const;  // of all its tensors
  // Values (windows: empty places among them), or blocks (bsr).
  int64_t stored(const PackedWeight& weight) const;
  // Weights that have a value there, as stored_weights() counts them, but of windows without the empty
  // places.
  int64_t kept(const PackedWeight& weight) const;

  // Every index in range and ascending, every offset in order, counts in agreement, no scale negative or not
  // finite. Throws Error(kInput)
  // naming the tensor and the position.
  void check(const PackedWeight& weight) const;

  // The bytes of one of its tensors ("values", "indices", "scales", ...) as they lie in the mapped file,
  // aligned or not.
  std::span<const std::byte> data(const PackedWeight& weight, std::string_view suffix) const;
  // Of int8 values.
  ScaleGrid scales(const PackedWeight& weight) const;

  // The arrays of a checked weight, copied to aligned memory. T must be the weight's type, into which int8
  // values are scaled, or for int8 values int8_t.
  template <class T>
  NmPacked<T> nm(const PackedWeight& weight) const;
  template <class T>
  BitmaskPacked<T> bitmask(const PackedWeight& weight) const;
  template <class T>
  Csr<T> csr(const PackedWeight& weight) const;
  template <class T>
  Bsr<T> bsr(const PackedWeight& weight) const;
  template <class T>
  WindowsPacked<T> windows(const PackedWeight& weight) const;
  // The dense matrix [out, in] of a weight; checks it first.
  template <class T>
  Matrix<T> unpack(const PackedWeight& weight) const;
  // The most that unpack() holds, turning its result around included.
  uint64_t unpacking_bytes(const PackedWeight& weight) const {
    return bytes(weight) + (weight.orientation == Orientation::kInOut ? 2 : 1) * weight.dense_bytes();
  }

 private:
  void read_layout(size_t shard, const std::string& text);
  void check_tensors(const PackedWeight& weight) const;
  const TensorInfo& component(const PackedWeight& weight, std::string_view suffix) const;
  void check_places(const PackedWeight& weight) const;
  template <class T>
  std::vector<T> array(const PackedWeight& weight, std::string_view suffix) const;
  template <class T>
  std::vector<T> values(const PackedWeight& weight) const;
  [[noreturn]] void refuse(const PackedWeight& weight, const std::string& fault) const;

  const Checkpoint& checkpoint_;
  std::vector<PackedWeight> weights_;
  std::unordered_map<std::string, size_t> by_tensor_;  // dense name and component names -> index
};

}  // namespace prune
