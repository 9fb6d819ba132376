// Where a command's result goes.
#pragma once

#include <filesystem>
#include <string_view>

#include "apps/prune/command_line.h"
#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"

namespace prune::app {

// -o OUT, or the model's sibling NAME-<suffix> (of a single file: STEM-<suffix>.safetensors); absolute.
// Refuses at once, before any work, what could not become an output (with --resume, Staging decides about one
// that exists). Throws as Staging() does.
std::filesystem::path output_place(const CommandLine& line, const Checkpoint& model, std::string_view suffix);
// --force, --resume, and notes on stderr unless --quiet.
StagingOptions staging_options(const CommandLine& line);

// Tells that an earlier run completed `output`, so that nothing was left to do; gives the exit code.
int print_complete(const CommandLine& line, const std::filesystem::path& output);

// "2:4" -> "2of4": a pattern as part of a file name.
std::string file_name_form(std::string_view pattern);

}  // namespace prune::app
