#include "apps/prune/text_file.h"

#include <unistd.h>

#include <cerrno>
#include <fstream>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune::app {

void require_writable(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  if (!path.has_filename() || std::filesystem::is_directory(path, ignored)) {
    throw_usage(shown(path) + ": is a folder: name a file in it");
  }
  if (!std::filesystem::is_directory(folder, ignored)) {
    throw_usage(shown(path) + ": its folder does not exist: create it first");
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    throw_runtime(shown(path) + ": can't be written: " + system_reason(errno));
  }
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path beside = path.string() + "." + std::to_string(getpid()) + ".tmp";
  std::ofstream file(beside, std::ios::binary);
  file << text;
  file.close();
  std::error_code fault;
  if (file) std::filesystem::rename(beside, path, fault);
  if (file && !fault) return;
  std::error_code ignored;
  std::filesystem::remove(beside, ignored);
  throw_runtime(path.string() + ": can't be written" + (fault ? ": " + fault.message() : ""));
}

}  // namespace prune::app
