// What a cut makes of each tensor of a checkpoint.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/structured/cut.h"

namespace prune {

struct TensorCut {
  std::string name;                   // in the smaller model; empty: the tensor goes
  std::optional<Units> rows = {};     // of the file's first dimension; absent: all
  std::optional<Units> columns = {};  // of its second

  bool stays() const { return !name.empty(); }
  bool is_whole() const { return !rows && !columns; }
  std::vector<int64_t> shape(std::vector<int64_t> dense) const;
};

class TensorCuts {
 public:
  // Both must outlive it.
  TensorCuts(const Decoder& decoder, const Cut& cut) : decoder_(decoder), cut_(cut) {}

  TensorCut of(std::string_view tensor) const;

 private:
  TensorCut inside_layer(const LayerCut& layer, std::string_view name) const;
  std::optional<Units> rows_of(const LayerCut& layer, std::string_view module, size_t expert) const;
  std::optional<Units> columns_of(const LayerCut& layer, std::string_view module, size_t expert) const;

  const Decoder& decoder_;
  const Cut& cut_;
};

// The elements of a tensor that stay, in their order. `element` bytes each; the tensor has the rank that the
// cut needs.
std::vector<std::byte> cut_bytes(std::span<const std::byte> bytes, const std::vector<int64_t>& shape,
                                 size_t element, const TensorCut& cut);

}  // namespace prune
