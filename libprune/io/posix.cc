#include "libprune/io/posix.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "libprune/io/mapped_file.h"
#include "libprune/io/text.h"

namespace prune {
namespace {

const char* kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a folder";
    case S_IFIFO:
      return "a FIFO";
    case S_IFSOCK:
      return "a socket";
    default:
      return "a device";
  }
}

[[noreturn]] void throw_unreadable(const std::filesystem::path& path, int error) {
  std::error_code ignored;
  if (error == ENOENT && std::filesystem::is_symlink(path, ignored)) {
    throw_input(shown(path) + ": a link to a file that does not exist");
  }
  throw_input(shown(path) + ": cannot be read: " + system_reason(error));
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

void FileDescriptor::reset() {
  if (is_open()) ::close(release());
}

void throw_system_error(const std::string& doing, const std::filesystem::path& path, int error) {
  throw_runtime(system_reason(error) + " while " + doing + ' ' + shown(path));
}

RegularFile open_regular_file(const std::filesystem::path& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) throw_unreadable(path, errno);
  if (!S_ISREG(facts.st_mode))
    throw_input(shown(path) + ": is " + kind_of(facts.st_mode) + ", not a regular file");

  // Somebody may have put a FIFO there since: O_NONBLOCK keeps open() from waiting for its writer.
  RegularFile file;
  file.fd = FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.fd.is_open()) throw_unreadable(path, errno);
  if (::fstat(file.fd.get(), &facts) != 0) throw_unreadable(path, errno);
  if (!S_ISREG(facts.st_mode))
    throw_input(shown(path) + ": is " + kind_of(facts.st_mode) + ", not a regular file");
  file.size = static_cast<uint64_t>(facts.st_size);
  file.permissions = facts.st_mode & 0777;
  return file;
}

void copy_permissions(const std::filesystem::path& from, const std::filesystem::path& to) {
  struct stat facts {};
  if (::stat(from.c_str(), &facts) != 0) throw_system_error("reading", from, errno);
  if (::chmod(to.c_str(), facts.st_mode & 0777) != 0) throw_system_error("writing", to, errno);
}

void write_all(int fd, uint64_t offset, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  constexpr size_t kMostAtOnce = size_t{1} << 30;  // Linux writes at most 2 GiB - 4 KiB in one call
  while (!bytes.empty()) {
    const size_t size = std::min(bytes.size(), kMostAtOnce);
    const ssize_t written = ::pwrite(fd, bytes.data(), size, static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      // Our own memory is always there: the bytes are a part of a mapped file that is gone.
      if (errno == EFAULT) throw_runtime(std::string(kLostInput));
      throw_system_error("writing", path, errno);
    }
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void start_write_back(int fd, uint64_t offset, uint64_t size) noexcept {
  ::sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(size), SYNC_FILE_RANGE_WRITE);
}

void sync_file(int fd, const std::filesystem::path& path) {
  while (::fsync(fd) != 0) {
    if (errno != EINTR) throw_system_error("writing", path, errno);
  }
}

void sync_folder(const std::filesystem::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) throw_system_error("opening", path, errno);
  // Some network file systems cannot sync a folder and answer EINVAL: their servers order the renames
  // themselves.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) throw_system_error("writing", path, errno);
}

}  // namespace prune
