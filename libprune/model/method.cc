#include "libprune/model/method.h"

#include <algorithm>
#include <vector>

#include <prune/error.h>

#include "libprune/model/calibrated/calibrated_pass.h"
#include "libprune/model/magnitude_pass.h"
#include "libprune/model/train/trained_pass.h"

namespace prune {

namespace {

std::vector<Method> list_methods() {
  std::vector<Method> list = {
      {"magnitude", "|w|; blocks by their norm. Needs no data.", prune_by_magnitude},
  };
  for (const LayerMethod& method : layer_methods())
    list.push_back({method.name, method.summary, prune_calibrated, true});
  list.push_back(
      {"gradual", "Least weights go step by step while the model is trained.", prune_trained, false, true});
  list.push_back({"movement", "Masks are learned while the model is trained.", prune_trained, false, true});
  return list;
}

}  // namespace

std::span<const Method> methods() {
  static const std::vector<Method> kMethods = list_methods();
  return kMethods;
}

const Method& find_method(std::string_view name) {
  const auto found = std::ranges::find(methods(), name, &Method::name);
  if (found != methods().end()) return *found;
  std::string names;
  for (const Method& method : methods()) names += (names.empty() ? "" : ", ") + std::string(method.name);
  throw_usage("method '" + std::string(name) + "': expected one of " + names);
}

}  // namespace prune
