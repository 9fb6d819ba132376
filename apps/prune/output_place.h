// Where a command's result goes.
#pragma once

#include <filesystem>
#include <string_view>

#include "apps/prune/command_line.h"
#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"

namespace prune::app {

// -o OUT, or the model's sibling NAME-<suffix> (of a single file: STEM-<suffix>.safetensors).
std::filesystem::path output_place(const CommandLine& line, const Checkpoint& model, std::string_view suffix);
StagingOptions staging_options(const CommandLine& line);
// Refuses at once, before any work, an output that exists and may not be replaced (with --resume, Staging
// decides). Throws Error(kUsage).
void require_free(const std::filesystem::path& output, const CommandLine& line);

// "2:4" -> "2of4": a pattern as part of a file name.
std::string file_name_form(std::string_view pattern);

}  // namespace prune::app
