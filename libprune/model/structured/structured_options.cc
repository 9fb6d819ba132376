#include "libprune/model/structured/structured_options.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include <prune/error.h>

namespace prune {
namespace {

constexpr std::array<std::pair<std::string_view, UnitKind>, 5> kUnits = {{{"channels", UnitKind::kChannels},
                                                                          {"heads", UnitKind::kHeads},
                                                                          {"layers", UnitKind::kLayers},
                                                                          {"experts", UnitKind::kExperts},
                                                                          {"mixed", UnitKind::kMixed}}};

constexpr StructuredMethod kMethods[] = {
    {"magnitude", "squared weights that go with a unit. Needs no data.", UnitScore::kNorm},
    {"activation", "what a unit adds to the outputs.", UnitScore::kEnergy},
    {"refit", "the same, then least squares of the output projections.", UnitScore::kEnergy, true},
    {"obs", "what is lost after least squares, unit by unit, heads by the text's loss.", UnitScore::kLoss,
     true},
    {"best",
     "obs, then layers are trained, alone and with the one before, to give what dense ones gave. Slow.",
     UnitScore::kLoss, true, true},
};

}  // namespace

std::string_view to_string(UnitKind units) {
  return std::ranges::find(kUnits, units, &std::pair<std::string_view, UnitKind>::second)->first;
}

std::optional<UnitKind> parse_units(std::string_view word) {
  const auto found = std::ranges::find(kUnits, word, &std::pair<std::string_view, UnitKind>::first);
  return found == kUnits.end() ? std::nullopt : std::optional(found->second);
}

std::span<const StructuredMethod> structured_methods() { return kMethods; }

const StructuredMethod& find_structured_method(std::string_view name) {
  const auto found = std::ranges::find(kMethods, name, &StructuredMethod::name);
  if (found != std::end(kMethods)) return *found;
  std::string names;
  for (const StructuredMethod& method : kMethods)
    names += (names.empty() ? "" : ", ") + std::string(method.name);
  throw_usage("method '" + std::string(name) + "' removes no whole units: expected one of " + names);
}

}  // namespace prune
