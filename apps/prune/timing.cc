#include "apps/prune/timing.h"

#include <algorithm>
#include <numeric>
#include <span>

namespace prune::app {
namespace {

double shortest(std::span<const std::vector<double>> passes) {
  std::vector<double> floor = passes.front();
  for (const std::vector<double>& pass : passes) {
    for (size_t weight = 0; weight < floor.size(); ++weight)
      floor[weight] = std::min(floor[weight], pass[weight]);
  }
  return std::accumulate(floor.begin(), floor.end(), 0.0) / double(floor.size());
}

}  // namespace

Timing evaluate(const Passes& passes) {
  const std::span<const std::vector<double>> all(passes);
  std::vector<double> parts;
  for (size_t part = 0; part < kParts; ++part) {
    const size_t begin = all.size() * part / kParts;
    const size_t end = all.size() * (part + 1) / kParts;
    parts.push_back(shortest(all.subspan(begin, end - begin)));
  }
  std::ranges::sort(parts);
  return {shortest(all), parts[kParts / 2] / parts.front() - 1};
}

std::optional<double> speedup(const Timing& dense, const Timing& sparse) {
  if (!dense.is_steady() || !sparse.is_steady()) return std::nullopt;
  return dense.seconds / sparse.seconds;
}

double spread(const Timing& dense, const Timing& sparse) { return dense.spread + sparse.spread; }

std::string_view faster(const Timing& dense, const Timing& sparse) {
  const auto ratio = speedup(dense, sparse);
  if (!ratio) return "-";
  const double margin = *ratio * spread(dense, sparse);
  if (*ratio - margin > 1) return "sparse";
  return *ratio + margin < 1 ? "dense" : "either";
}

}  // namespace prune::app
