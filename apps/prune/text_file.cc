#include "apps/prune/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <string>

#include <prune/error.h>

#include "libprune/io/posix.h"
#include "libprune/io/text.h"

namespace prune::app {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void refuse(const fs::path& path, int error) {
  throw_runtime(shown(path) + ": can't be written: " + system_reason(error));
}

// What a path stands for: links followed, one that dangles too.
fs::path behind_links(fs::path path) {
  constexpr int kMostLinks = 40;  // as many as Linux follows
  std::error_code ignored;
  for (int links = 0; fs::is_symlink(path, ignored); ++links) {
    if (links == kMostLinks) refuse(path, ELOOP);
    path = path.parent_path() / fs::read_symlink(path, ignored);
  }
  return path;
}

// A device or a FIFO is written to as it is; only a file, or what will be one, is replaced.
bool is_written_through(const fs::path& target) {
  std::error_code ignored;
  const fs::file_status status = fs::status(target, ignored);
  return fs::exists(status) && !fs::is_regular_file(status);
}

void write_whole(int fd, std::string_view text, const fs::path& shown_path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) refuse(shown_path, errno);
    if (written > 0) text.remove_prefix(size_t(written));
  }
}

void write_through(const fs::path& target, std::string_view text, const fs::path& given) {
  const FileDescriptor fd(::open(target.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd.is_open()) refuse(given, errno);
  write_whole(fd.get(), text, given);
}

void replace(const fs::path& target, std::string_view text, const fs::path& given) {
  const fs::path beside = target.string() + "." + std::to_string(::getpid()) + ".tmp";
  const FileDescriptor fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!fd.is_open()) refuse(given, errno);
  try {
    write_whole(fd.get(), text, given);
    if (::rename(beside.c_str(), target.c_str()) != 0) refuse(given, errno);
  } catch (const Error&) {
    ::unlink(beside.c_str());
    throw;
  }
}

}  // namespace

void require_writable(const fs::path& path) {
  const fs::path target = behind_links(path);
  const fs::path folder = target.has_parent_path() ? target.parent_path() : ".";
  std::error_code ignored;
  if (!path.has_filename() || fs::is_directory(target, ignored)) {
    throw_usage(shown(path) + ": is a folder: name a file in it");
  }
  if (!fs::is_directory(folder, ignored)) {
    throw_usage(shown(path) + ": its folder does not exist: create it first");
  }
  const fs::path& changed = is_written_through(target) ? target : folder;
  if (::access(changed.c_str(), W_OK) != 0) refuse(path, errno);
}

void write_text_file(const fs::path& path, std::string_view text) {
  const fs::path target = behind_links(path);
  is_written_through(target) ? write_through(target, text, path) : replace(target, text, path);
}

}  // namespace prune::app
