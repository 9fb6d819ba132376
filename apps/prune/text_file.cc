#include "apps/prune/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <string>
#include <system_error>

#include <prune/error.h>

#include "libprune/io/folder.h"
#include "libprune/io/posix.h"
#include "libprune/io/text.h"

namespace prune::app {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void refuse(const fs::path& path, int error) {
  throw_runtime(shown(path) + ": can't be written: " + system_reason(error));
}

fs::path behind_links(const fs::path& path) {
  std::error_code error;
  fs::path target = follow_links(path, error);
  if (error) refuse(path, error.value());
  return target;
}

// A device, a FIFO or what is open already is written to as it is; only a file, or what will be one, is
// replaced.
bool is_written_through(const fs::path& target) {
  std::error_code not_there;
  const fs::file_status status = fs::status(target, not_there);
  return is_descriptor(target) || (fs::exists(status) && !fs::is_regular_file(status));
}

// This process's own descriptor that a place in /proc/*/fd names. Opening that place would not do: a socket
// can't be opened, and a file would be written from its start, over what came through the descriptor.
std::optional<int> own_descriptor(const fs::path& target) {
  if (!is_descriptor(target) || !same_place(target.parent_path(), "/proc/self/fd")) return std::nullopt;
  const std::string name = target.filename().native();
  int fd = -1;
  std::from_chars(name.data(), name.data() + name.size(), fd);
  return fd;
}

void require_open_for_writing(int fd, const fs::path& given) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) refuse(given, errno);
  if ((flags & O_ACCMODE) == O_RDONLY) refuse(given, EBADF);
}

// The file that becomes `target` at the end. Its name does not grow with the target's, which may be the
// longest.
fs::path file_beside(const fs::path& target) {
  return target.parent_path() / (".prune." + std::to_string(::getpid()) + ".tmp");
}

void write_whole(int fd, std::string_view text, const fs::path& shown_path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) refuse(shown_path, errno);
    if (written > 0) text.remove_prefix(size_t(written));
  }
}

void write_through(const fs::path& target, std::string_view text, const fs::path& given) {
  if (const auto own = own_descriptor(target)) return write_whole(*own, text, given);
  const FileDescriptor fd(::open(target.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY));
  if (!fd.is_open()) refuse(given, errno);
  write_whole(fd.get(), text, given);
}

void replace(const fs::path& target, std::string_view text, const fs::path& given) {
  const fs::path beside = file_beside(target);
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
  std::error_code not_there;
  if (!path.has_filename() || fs::is_directory(target, not_there)) {
    throw_usage(shown(path) + ": is a folder: name a file in it");
  }
  if (!fs::is_directory(folder, not_there)) {
    throw_usage(shown(path) + ": its folder does not exist: create it first");
  }
  if (const auto own = own_descriptor(target)) return require_open_for_writing(*own, path);
  if (is_written_through(target)) {
    if (::access(target.c_str(), W_OK) != 0) refuse(path, errno);
    return;
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) refuse(path, errno);
  // A name that is too long, which nothing in the folder can have.
  if (::access(target.c_str(), F_OK) != 0 && errno != ENOENT) refuse(path, errno);
}

void write_text_file(const fs::path& path, std::string_view text) {
  const fs::path target = behind_links(path);
  is_written_through(target) ? write_through(target, text, path) : replace(target, text, path);
}

}  // namespace prune::app
