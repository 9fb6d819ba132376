#include "libprune/model/method.h"

#include <algorithm>

#include <prune/error.h>

#include "libprune/model/magnitude_pass.h"

namespace prune {

std::span<const Method> methods() {
  static constexpr Method kMethods[] = {
      {"magnitude", "|w|; blocks by their norm. Needs no data.", prune_by_magnitude},
  };
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
