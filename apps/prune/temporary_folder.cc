#include "apps/prune/temporary_folder.h"

#include <stdlib.h>

#include <cerrno>
#include <system_error>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune::app {

const std::filesystem::path& TemporaryFolder::path() const {
  if (!path_.empty()) return path_;
  std::error_code failed;
  const std::filesystem::path place = std::filesystem::temp_directory_path(failed);
  std::string name = ((failed ? std::filesystem::path("/tmp") : place) / (prefix_ + "-XXXXXX")).string();
  if (::mkdtemp(name.data()) == nullptr)
    throw_runtime("no temporary folder " + quote_name(name) + ": " + system_reason(errno) + ": set TMPDIR");
  path_ = name;
  return path_;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace prune::app
