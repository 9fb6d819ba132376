// Memory of this process.
#pragma once

#include <cstdint>

namespace prune::app {

struct MemoryUse {
  uint64_t resident = 0;  // bytes now, pages of mapped files included
  uint64_t peak = 0;      // the most so far
};

// Zeros where /proc does not say.
MemoryUse memory_use();

}  // namespace prune::app
