// Writing the smaller checkpoint that a cut leaves.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/repacking.h"
#include "libprune/model/structured/cut.h"

namespace prune {

// Bytes of tensors in the shape that the cut leaves them, by their names in the dense model.
using ChangedTensors = std::map<std::string, std::span<const std::byte>>;

struct CutFiles {
  uint64_t model_bytes = 0;  // of the shards, before and after
  uint64_t bytes = 0;
  uint64_t tensors = 0;  // after
};

// Writes what is left of every tensor, by its new name, into the shard where it was; a shard of which nothing
// is left is left out. Changed tensors come from `changed`, all others are the dense model's bits. Writes
// config.json anew and finishes `repacking`. Throws Error, or Interrupted.
CutFiles write_cut(const Decoder& decoder, const Cut& cut, const ChangedTensors& changed,
                   Repacking& repacking);

// The new text of config.json. Throws as cut_config_text().
std::string new_config(const Decoder& decoder, const Cut& cut);

}  // namespace prune
