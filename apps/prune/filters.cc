#include "apps/prune/filters.h"

#include <fmt/format.h>

#include <functional>
#include <optional>

#include <prune/error.h>

#include "apps/prune/terminal.h"
#include "libprune/io/text.h"
#include "libprune/model/architecture.h"
#include "libprune/model/name_filter.h"
#include "libprune/model/weight_selection.h"

namespace prune::app {
namespace {

// Why a tensor that a pattern matches is not changed by it; nothing when it is.
using Obstacle = std::function<std::optional<std::string>(const TensorInfo&)>;

// What is wrong with a pattern; nothing when it does something.
std::optional<std::string> fault_of(const char* option, const std::string& pattern,
                                    const Checkpoint& checkpoint, const Obstacle& obstacle) {
  const NameFilter filter({pattern});
  std::optional<std::string> first;
  int matches = 0;
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    for (const TensorInfo& tensor : shard.tensors()) {
      if (!filter.matches(tensor.name)) continue;
      const auto reason = obstacle(tensor);
      if (!reason) return std::nullopt;
      if (++matches == 1) first = quote_name(tensor.name) + ": " + *reason;
    }
  }
  const std::string what = fmt::format("{} {} matches ", option, quote_name(pattern));
  if (matches == 0) return what + "no tensor";
  return what + fmt::format("only tensors that it cannot change ({}{})", *first,
                            matches > 1 ? fmt::format(", and {} more", matches - 1) : "");
}

}  // namespace

void report_filters(const Checkpoint& checkpoint, const std::vector<std::string>& include,
                    const std::vector<std::string>& exclude, bool quiet) {
  const WeightSelection selection(checkpoint, include);
  std::vector<std::string> faults;
  for (const std::string& pattern : include) {
    if (auto fault = fault_of("--include", pattern, checkpoint, unprunable_reason)) faults.push_back(*fault);
  }
  if (!include.empty() && faults.size() == include.size()) {
    throw_input(shown(checkpoint.path()) + ": " + join_distinct(faults, "; "));
  }
  const auto left_alone = [&](const TensorInfo& tensor) -> std::optional<std::string> {
    const WeightSelection::Choice choice = selection.choose(tensor);
    return choice.chosen ? std::nullopt : std::optional(choice.reason);
  };
  for (const std::string& pattern : exclude) {
    if (auto fault = fault_of("--exclude", pattern, checkpoint, left_alone)) faults.push_back(*fault);
  }
  if (quiet) return;
  for (const std::string& fault : faults) say(fmt::format("note: {}\n", printable(fault)));
}

}  // namespace prune::app
