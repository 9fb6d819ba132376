// A read-only memory map of a regular file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace prune {

// What is said of a mapped file that lost pages while it was in use.
inline constexpr std::string_view kLostInput =
    "an input file became shorter, or its disk failed, while it was read";

// The map shows the file as it is, not a copy. Where another process shortens the file meanwhile, reading the
// lost part raises SIGBUS, which the program answers with kLostInput, and system calls that are given it fail
// with EFAULT. (Renaming over the file or unlinking it is harmless, and well-behaved writers do that.)
class MappedFile {
 public:
  // Throws Error(kInput) when `path` is missing, no regular file after following links (a FIFO is never
  // waited for), or not readable. An empty file maps to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Access hints for streaming: begin reading [offset, offset + size) ahead; drop it from this process's
  // resident memory.
  void will_need(size_t offset, size_t size) const;
  void done_with(size_t offset, size_t size) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace prune
