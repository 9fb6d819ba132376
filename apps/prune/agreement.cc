#include "apps/prune/agreement.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace prune::app {

Agreement compare(std::span<const float> expected, std::span<const float> actual) {
  Agreement result;
  for (size_t i = 0; i < expected.size(); ++i) {
    const float e = expected[i], a = actual[i];
    if (std::isfinite(e) && std::isfinite(a)) {
      result.largest = std::max(result.largest, std::abs(e));
      result.error = std::max(result.error, std::abs(e - a));
    } else {
      result.same_special &= e == a || (std::isnan(e) && std::isnan(a));
    }
  }
  return result;
}

}  // namespace prune::app
