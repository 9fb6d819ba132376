// What becomes of each tensor of a dense checkpoint that is packed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "libprune/model/pack_checkpoint.h"
#include "libprune/model/weight_selection.h"

namespace prune {

struct PackChoice {
  bool is_weight = false;  // a linear weight, packed or not
  std::optional<FormatChoice> packed;
  std::vector<FormatChoice> smaller = {};  // to choose the fastest of, else empty
  std::vector<int64_t> lost_signs = {};    // of each of them
  PackedTensorReport report;
};

// Chooses for the tensors of one shard.
class PackChooser {
 public:
  PackChooser(const SafetensorsFile& shard, size_t shard_number, const WeightSelection& selection,
              const PackOptions& options)
      : shard_(shard), shard_number_(shard_number), selection_(selection), options_(options) {}

  // By the zeros in `bytes`, which are the tensor's own or what pruning made of them. Where times decide, the
  // forms that may be fastest. Throws Error(kInput) where what the options ask for can't take the tensor.
  PackChoice choose(const TensorInfo& tensor, std::span<const std::byte> bytes) const;
  // Of choice.smaller the fastest on this machine, or dense.
  void choose_fastest(const TensorInfo& tensor, std::span<const std::byte> bytes, PackChoice& choice) const;

 private:
  PackedWeight unpacked(const TensorInfo& tensor, Orientation orientation) const;
  void choose_form(const TensorInfo& tensor, const PackedWeight& base, const SparsityProfile& zeros,
                   PackChoice& choice) const;
  [[noreturn]] void refuse(const TensorInfo& tensor, Index in) const;

  const SafetensorsFile& shard_;
  size_t shard_number_;
  const WeightSelection& selection_;
  const PackOptions& options_;
};

}  // namespace prune
