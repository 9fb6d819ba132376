#include "apps/prune/output_place.h"

#include <prune/error.h>

namespace prune::app {

std::filesystem::path output_place(const CommandLine& line, const Checkpoint& model,
                                   std::string_view suffix) {
  if (const auto given = line.maybe_text("output")) return *given;
  const std::filesystem::path& path = model.path();
  const std::filesystem::path name = model.is_single_file() ? path.stem() : path.filename();
  if (name.empty()) throw_usage(path.string() + " has no name to derive the output's from: give -o OUT");
  std::string sibling = name.string() + "-" + std::string(suffix);
  if (model.is_single_file()) sibling += path.extension().string();
  return path.parent_path() / sibling;
}

StagingOptions staging_options(const CommandLine& line) { return {line.flag("force"), line.flag("resume")}; }

void require_free(const std::filesystem::path& output, const CommandLine& line) {
  std::error_code ignored;
  if (!line.flag("force") && !line.flag("resume") &&
      std::filesystem::exists(std::filesystem::symlink_status(output, ignored))) {
    throw_usage(output.string() + " exists: give another -o OUT, or --force to replace it");
  }
}

std::string file_name_form(std::string_view pattern) {
  std::string name(pattern);
  if (const size_t colon = name.find(':'); colon != std::string::npos) name.replace(colon, 1, "of");
  return name;
}

}  // namespace prune::app
