#include "apps/prune/command.h"

#include <algorithm>
#include <iterator>
#include <vector>

namespace prune::app {

const Command* find_command(std::string_view name) {
  const auto command = std::ranges::find(kCommands, name, &Command::name);
  return command == std::end(kCommands) ? nullptr : command;
}

std::optional<std::string> nearest_command(const std::string& word) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  return nearest(word, names);
}

}  // namespace prune::app
