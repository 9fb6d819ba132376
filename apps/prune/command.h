// The program's commands.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "apps/prune/command_line.h"

namespace prune::app {

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(const Arguments& arguments);  // returns an exit code; throws Error, Interrupted
};

int prune_command(const Arguments& arguments);
int inspect_command(const Arguments& arguments);
int verify_command(const Arguments& arguments);
int pack_command(const Arguments& arguments);
int unpack_command(const Arguments& arguments);
int eval_command(const Arguments& arguments);
int generate_command(const Arguments& arguments);
int recover_command(const Arguments& arguments);
int bench_command(const Arguments& arguments);
int dashboard_command(const Arguments& arguments);
int devices_command(const Arguments& arguments);
int help_command(const Arguments& arguments);

// A new command is a file of its own, a declaration above and a line here.
inline constexpr Command kCommands[] = {
    {"inspect", "what a checkpoint holds: tensors, zeros, patterns", inspect_command},
    {"verify", "check a pruned or packed checkpoint, alone or against its original", verify_command},
    {"pack", "store a pruned checkpoint sparse: smaller on disk", pack_command},
    {"unpack", "make a packed checkpoint dense again, bit for bit", unpack_command},
    {"eval", "perplexity of a text under a checkpoint", eval_command},
    {"generate", "continue a text with a checkpoint, dense or packed", generate_command},
    {"recover", "train a pruned checkpoint on text; its zeros stay", recover_command},
    {"bench", "time a checkpoint's weight shapes on this machine, dense against sparse", bench_command},
    {"dashboard", "make a page of benchmark runs, or export them for other dashboards", dashboard_command},
    {"devices", "show the processors and GPUs found here, and which kernels run on them", devices_command},
    {"help", "explain a command, as 'prune COMMAND --help' does", help_command},
};

// Null for a word that is no command.
const Command* find_command(std::string_view name);
// "did you mean"; nothing when no command is near.
std::optional<std::string> nearest_command(const std::string& word);

}  // namespace prune::app
