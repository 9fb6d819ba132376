// The bundled model pruned, dense and packed: what runs one of them is checked by the other.
#pragma once

#include <cmath>
#include <optional>
#include <span>

#include "libprune/model/magnitude_pass.h"
#include "libprune/model/pack_checkpoint.h"
#include "test/libprune/io/files.h"

namespace prune::testing {

inline constexpr const char* kBundledModel = "test/data/docs-llama-4m";

struct PackedCase {
  Pattern pattern;
  double sparsity;
  PackedFormat format;
  StoredValues values = StoredValues::kPlain;
};

struct Twins {
  explicit Twins(const PackedCase& c) {
    const Checkpoint original(source_folder() / kBundledModel);
    PruneOptions prune;
    prune.pattern = c.pattern;
    prune.sparsity = c.sparsity;
    prune_by_magnitude(original, plan_pruning(original, prune), folder / "pruned", {}, {});
    dense.emplace(folder / "pruned");
    pack_checkpoint(*dense, {.request = {.format = c.format}, .values = c.values}, folder / "packed", {}, {});
    packed.emplace(folder / "packed");
  }
  TempFolder folder;
  std::optional<Checkpoint> dense, packed;
};

// ||values - reference|| / ||reference||
inline double relative_difference(std::span<const float> values, std::span<const float> reference) {
  double difference = 0, squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    difference += std::pow(double(values[i]) - double(reference[i]), 2);
    squares += double(reference[i]) * double(reference[i]);
  }
  return std::sqrt(difference / squares);
}

}  // namespace prune::testing
