#include "apps/prune/memory_use.h"

#include <fstream>
#include <string>

namespace prune::app {

MemoryUse memory_use() {
  MemoryUse use;
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    uint64_t kib = 0;
    if (key == "VmRSS:" && status >> kib) use.resident = kib << 10;
    if (key == "VmHWM:" && status >> kib) use.peak = kib << 10;
    status.clear();
    status.ignore(4096, '\n');
  }
  return use;
}

}  // namespace prune::app
