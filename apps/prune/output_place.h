// Where a command's result goes.
#pragma once

#include <filesystem>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "apps/prune/command_line.h"
#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"

namespace prune::app {

// -o OUT, or the model's sibling NAME-<suffix> (of a single file: STEM-<suffix>.safetensors); absolute.
// Refuses at once, before any work, what could not become an output (with --resume, Staging decides about one
// that exists). Throws as Staging() does.
std::filesystem::path output_place(const CommandLine& line, const Checkpoint& model, std::string_view suffix);

// For a dry run: whether --resume would find that `job`, as describe_job() gives it, completed the output.
// Refuses an output that exists and that neither --resume nor --force lets the run have. Throws as Staging()
// does.
bool is_resumed_complete(const CommandLine& line, const Checkpoint& model,
                         const std::filesystem::path& output, const nlohmann::json& job);

// Refuses, before any work, a report that could not be written, or that would overwrite a file of the model,
// or the output, or become a file in it. Throws Error(kUsage), and what require_writable() throws.
void check_report_place(const std::filesystem::path& report, const Checkpoint& model,
                        const std::filesystem::path& output);

// --force, --resume, and notes on stderr unless --quiet.
StagingOptions staging_options(const CommandLine& line);

// Tells that an earlier run completed `output`, so that nothing was left to do; gives the exit code.
int print_complete(const CommandLine& line, const std::filesystem::path& output);

// "2:4" -> "2of4": a pattern as part of a file name.
std::string file_name_form(std::string_view pattern);

}  // namespace prune::app
