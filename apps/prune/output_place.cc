#include "apps/prune/output_place.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"
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

}  // namespace

std::filesystem::path output_place(const CommandLine& line, const Checkpoint& model,
                                   std::string_view suffix) {
  std::filesystem::path place = place_of(line, model, suffix);
  StagingOptions options = staging_options(line);
  options.input = model.path();
  check_output_place(place, model.is_single_file(), options);
  return place;
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
