// A folder that goes away again.
#pragma once

#include <filesystem>
#include <string>

namespace prune::app {

// In $TMPDIR or /tmp, readable by this user only; made when path() is first asked for.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string prefix) : prefix_(std::move(prefix)) {}
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  // Throws Error(kRuntime).
  const std::filesystem::path& path() const;

 private:
  std::string prefix_;
  mutable std::filesystem::path path_;
};

}  // namespace prune::app
