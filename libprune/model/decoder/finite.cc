#include "libprune/model/decoder/finite.h"

#include <cstring>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune {

bool all_finite(const float* values, int64_t n) {
  constexpr uint32_t kExponent = 0x7f800000;
  int64_t faults = 0;
#pragma omp parallel for reduction(+ : faults) if (n > 1 << 16)
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, 4);
    faults += (bits & kExponent) == kExponent;
  }
  return faults == 0;
}

void throw_not_finite(const std::string& layer) {
  throw_input("layer " + quote_name(layer) +
              " gives NaN or infinite activations: its weights hold such values, or products of them "
              "overflow float32 ('prune inspect' shows NaN)");
}

void require_finite(const float* hidden, int64_t n, const std::string& layer) {
  if (!all_finite(hidden, n)) throw_not_finite(layer);
}

}  // namespace prune
