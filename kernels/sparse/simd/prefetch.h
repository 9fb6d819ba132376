// Asking for memory before it is read.
#pragma once

#include <cstdint>

#include "kernels/sparse/isa.h"

namespace prune::kernels {
namespace {

// The line that lies so many bytes behind p: of the array or not, where pointers must not go.
inline __attribute__((always_inline)) void prefetch_behind(const void* p, int64_t bytes) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p) + uintptr_t(bytes);
  __builtin_prefetch(reinterpret_cast<const void*>(address));  // NOLINT(performance-no-int-to-ptr): not read
}

// The same, no nearer than the second-level cache.
inline __attribute__((always_inline)) void prefetch_second_level(const void* p, int64_t bytes) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p) + uintptr_t(bytes);
  const auto* line = reinterpret_cast<const void*>(address);  // NOLINT(performance-no-int-to-ptr): not read
  __builtin_prefetch(line, 0, 2);
}

// For weights that are read once, in order. The processor's own prefetching stops where a page ends; this far
// ahead a core keeps enough lines on their way to use all that memory gives it.
inline constexpr int64_t kBytesAhead = 4096;
inline __attribute__((always_inline)) void prefetch_ahead(const void* p) { prefetch_behind(p, kBytesAhead); }

// The same for kernels that compute for about as long as memory takes (kDoes). A line that Zen 4's
// first-level cache asks memory for keeps one of its few buffers all that time, and what the kernel loads
// meanwhile waits for one: there the second-level cache is asked before. Kernels that only wait, or only
// compute, lose by the second request.
template <bool kDoes>
class AheadByLevels {
 public:
  __attribute__((always_inline)) void ask_for(const void* p) const {
    if (by_levels_) prefetch_second_level(p, 2 * kBytesAhead);
    prefetch_ahead(p);
  }

 private:
  const bool by_levels_ = kDoes && isa::works_in_halves();
};

}  // namespace
}  // namespace prune::kernels
