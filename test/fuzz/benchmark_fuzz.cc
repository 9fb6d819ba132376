// Any text as the results of a benchmark program: it is refused with Error(kInput), or its cases keep what
// their comments promise.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "libprune/io/benchmark_file.h"
#include "prune/error.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const prune::BenchmarkRun& run) {
  require(!run.cases.empty());
  std::set<std::string> names;
  for (const prune::BenchmarkCase& c : run.cases) {
    require(!c.name.empty() && names.insert(c.name).second);
    require(c.seconds.empty() == !c.error.empty());
    require(c.cpu_seconds.size() == c.seconds.size());
    require(!c.is_summary || c.seconds.size() <= 1);
    for (const double seconds : c.seconds) require(seconds > 0 && std::isfinite(seconds));
    for (const auto& [key, values] : c.counters) require(values.size() == c.seconds.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(prune::parse_benchmark_run({reinterpret_cast<const char*>(data), size}, "fuzz"));
  } catch (const prune::Error& error) {
    require(error.kind() == prune::ErrorKind::kInput);
    for (const char c : std::string_view(error.what())) require(static_cast<unsigned char>(c) >= 0x20);
  }
  return 0;
}
