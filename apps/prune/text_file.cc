#include "apps/prune/text_file.h"

#include <unistd.h>

#include <fstream>

#include <prune/error.h>

namespace prune::app {

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
