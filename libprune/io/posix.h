// The few system calls of this room, with their errors turned into words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "prune/error.h"

namespace prune {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() { reset(); }
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// Gives `to` the permission bits of `from`. Throws Error(kRuntime).
void copy_permissions(const std::filesystem::path& from, const std::filesystem::path& to);

// "<reason> while <doing> <path>", for example "no space left on device while writing out/model.safetensors".
[[noreturn]] void throw_system_error(const std::string& doing, const std::filesystem::path& path, int error);

struct RegularFile {
  FileDescriptor fd;
  uint64_t size = 0;
  uint32_t permissions = 0;  // the nine rwx bits
};

// Opens a regular file for reading, links followed. Anything else (missing, dangling link, folder, FIFO,
// socket, device) is refused without being opened, so that nothing waits and no device notices. Throws
// Error(kInput).
RegularFile open_regular_file(const std::filesystem::path& path);

// Writes all of `bytes` at `offset`; `path` is for the message. Throws Error(kRuntime).
void write_all(int fd, uint64_t offset, std::span<const std::byte> bytes, const std::filesystem::path& path);

// Asks the kernel to start writing these bytes of the file to disk, and does not wait: a sync of the whole
// file later finds little left to do. Only a hint; a file system that knows none of it loses nothing.
void start_write_back(int fd, uint64_t offset, uint64_t size) noexcept;

// Returns when the file or folder is on disk. Throws Error(kRuntime).
void sync_file(int fd, const std::filesystem::path& path);
void sync_folder(const std::filesystem::path& path);

}  // namespace prune
