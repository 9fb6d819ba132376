// What the user decides about structured pruning: the removal of whole units, which leaves a smaller dense
// model.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "libprune/model/calibrated/calibration_options.h"

namespace prune {

enum class UnitKind {
  kChannels,  // of the feed-forward layers, of every expert
  kHeads,     // a key and value head with its query heads; where there is one such head, query heads
  kLayers,
  kExperts,
  kMixed,  // layers, heads and channels, as many of each as measuring finds best
};
std::string_view to_string(UnitKind units);  // "channels"
// Nothing for a word that is no pattern of units.
std::optional<UnitKind> parse_units(std::string_view word);

enum class UnitScore {
  kNorm,    // sum of the squared weights that go with the unit
  kEnergy,  // that of the outputs that the unit adds
  kLoss,    // what is lost once the rest makes up for it: update::obs_columns()
};

struct StructuredMethod {
  std::string_view name;
  std::string_view summary;
  UnitScore score;
  bool refits = false;        // the output projections, on the inputs that stay
  bool reconstructs = false;  // trains each layer afterwards

  bool needs_calibration() const { return score != UnitScore::kNorm; }
};
std::span<const StructuredMethod> structured_methods();
// Throws Error(kUsage) naming those there are.
const StructuredMethod& find_structured_method(std::string_view name);

struct StructuredOptions {
  UnitKind units = UnitKind::kChannels;
  double sparsity = 0;  // share of the decoder blocks' parameters that go
  std::string method = "magnitude";
  int64_t multiple_of = 64;  // that the number of channels is
  int threads = 0;           // 0: all
  CalibrationOptions calibration = {};
};

}  // namespace prune
