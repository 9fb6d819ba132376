// prune help [COMMAND].
#include <prune/error.h>

#include "apps/prune/command.h"
#include "libprune/io/text.h"

namespace prune::app {

int help_command(const Arguments& arguments) {
  if (arguments.empty() || arguments.front().starts_with('-')) return prune_command({"--help"});
  if (arguments.size() > 1) throw_usage("too many arguments: prune help [COMMAND]");
  const std::string& name = arguments.front();
  if (const Command* command = find_command(name)) return command->run({"--help"});
  const auto meant = nearest_command(name);
  throw_usage(quote_name(name) + " is no command: " +
              (meant ? "did you mean 'prune help " + *meant + "'?" : "'prune help' lists them"));
}

}  // namespace prune::app
