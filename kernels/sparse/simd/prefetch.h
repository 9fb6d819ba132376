// Asking for memory before it is read.
#pragma once

namespace prune::kernels {
namespace {

// For weights that are read once, in order. The processor's own prefetching stops where a page ends; this far
// ahead a core keeps enough lines on their way to use all that memory gives it.
inline __attribute__((always_inline)) void prefetch_ahead(const void* p) {
  constexpr int kAhead = 4096;
  __builtin_prefetch(static_cast<const char*>(p) + kAhead);
}

}  // namespace
}  // namespace prune::kernels
