// Packed checkpoints: safetensors files whose linear weights are stored sparse. docs/formats.md is the
// specification.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <prune/packed_windows.h>

#include "libprune/io/checkpoint.h"
#include "libprune/model/packed_layout.h"
#include "libprune/model/scale_grid.h"

namespace prune {

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
  // finite. Throws Error(kInput) naming the tensor and the position.
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
  NameTable<size_t> by_name_;  // dense name -> index
};

}  // namespace prune
