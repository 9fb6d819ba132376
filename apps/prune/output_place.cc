#include "apps/prune/output_place.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"
#include "apps/prune/text_file.h"
#include "libprune/io/completion_mark.h"
#include "libprune/io/folder.h"
#include "libprune/io/text.h"

namespace prune::app {

namespace {

std::filesystem::path place_of(const CommandLine& line, const Checkpoint& model, std::string_view suffix) {
  if (const auto given = line.maybe_text("output")) return tidy_absolute(*given);
  const std::filesystem::path& path = model.path();
  const std::filesystem::path name = model.is_single_file() ? path.stem() : path.filename();
  if (name.empty()) throw_usage(shown(path) + " has no name to derive the output's from: give -o OUT");
  std::string sibling = name.string() + "-" + std::string(suffix);
  if (model.is_single_file()) sibling += path.extension().string();
  return path.parent_path() / sibling;
}

// Absolute, without links, whether it is there or not.
std::filesystem::path resolved(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path target = follow_links(std::filesystem::absolute(path), error);
  const std::filesystem::path place = std::filesystem::weakly_canonical(target, error);
  return error ? target : place;
}

StagingOptions place_options(const CommandLine& line, const Checkpoint& model) {
  StagingOptions options = staging_options(line);
  options.input = model.path();
  return options;
}

bool is_file_of(const Checkpoint& model, const std::filesystem::path& path) {
  const auto is_path = [&](const std::filesystem::path& file) { return same_place(file, path); };
  return std::ranges::any_of(model.shards(), is_path, &SafetensorsFile::path) ||
         std::ranges::any_of(model.other_files(),
                             [&](const auto& file) { return is_path(model.path() / file); });
}

}  // namespace

std::filesystem::path output_place(const CommandLine& line, const Checkpoint& model,
                                   std::string_view suffix) {
  std::filesystem::path place = place_of(line, model, suffix);
  check_output_place(place, model.is_single_file(), place_options(line, model));
  return place;
}

bool is_resumed_complete(const CommandLine& line, const Checkpoint& model,
                         const std::filesystem::path& output, const nlohmann::json& job) {
  StagingOptions options = place_options(line, model);
  if (options.resume && is_marked_complete(resolved(output), job)) return true;
  options.resume = false;
  check_output_place(output, model.is_single_file(), options);
  return false;
}

void check_report_place(const std::filesystem::path& report, const Checkpoint& model,
                        const std::filesystem::path& output) {
  if (is_file_of(model, report)) {
    throw_usage(shown(report) +
                ": is a file of the model, which stays as it is: name another file for the report");
  }
  if (contains(resolved(output), resolved(report))) {
    throw_usage(shown(report) + ": is the output, or lies inside it: name another file for the report");
  }
  require_writable(report);
}

StagingOptions staging_options(const CommandLine& line) {
  StagingOptions options{.force = line.flag("force"), .resume = line.flag("resume")};
  if (!line.flag("quiet"))
    options.note = [](const std::string& note) { say(fmt::format("note: {}\n", printable(note))); };
  return options;
}

int print_complete(const CommandLine& line, const std::filesystem::path& output) {
  if (line.flag("json")) {
    const nlohmann::json document = {{"output", output.string()}, {"already_complete", true}};
    fmt::print("{}", json_text(document));
  } else {
    fmt::print(
        "{}: is complete already, made by the same command from the same files: nothing is left to do\n",
        shown(output));
  }
  return kDone;
}

std::string file_name_form(std::string_view pattern) {
  std::string name(pattern);
  if (const size_t colon = name.find(':'); colon != std::string::npos) name.replace(colon, 1, "of");
  return name;
}

}  // namespace prune::app
