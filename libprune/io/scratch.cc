#include "libprune/io/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "libprune/io/posix.h"
#include "libprune/io/staging.h"

namespace prune {
namespace {

size_t page_size() { return size_t(::sysconf(_SC_PAGESIZE)); }

// Not every file system knows files that never had a name.
int open_without_name(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  std::string name = (folder / ".prune-XXXXXX").string();
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

}  // namespace

Scratch::Scratch(uint64_t memory, std::filesystem::path folder) : free_(memory), folder_(std::move(folder)) {}

Scratch::~Scratch() { clear(); }

void Scratch::clear() {
  for (const Region& region : regions_) {
    ::munmap(region.data, region.size);
    region.in_file ? spilled_ -= region.size : free_ += region.size;
  }
  regions_.clear();
}

// Reserves the blocks: a map of a file that the disk can't hold would kill the process on writing.
int Scratch::make_file(uint64_t bytes) const {
  FileDescriptor fd(open_without_name(folder_));
  if (!fd.is_open()) throw_system_error("making a temporary file in", folder_, errno);
  int fault = 0;
  while ((fault = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes))) == EINTR) check_interrupted();
  if (fault != 0) throw_system_error("reserving " + std::to_string(bytes) + " bytes in", folder_, fault);
  return fd.release();
}

std::span<std::byte> Scratch::take(uint64_t bytes) {
  return map(bytes, bytes > free_ ? Place::kFile : Place::kMemory);
}

std::span<std::byte> Scratch::take_in_file(uint64_t bytes) { return map(bytes, Place::kFile); }

std::span<std::byte> Scratch::map(uint64_t bytes, Place place) {
  if (bytes == 0) return {};
  const bool in_file = place == Place::kFile;
  const FileDescriptor fd(in_file ? make_file(bytes) : -1);
  const int flags = in_file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd.get(), 0);
  if (data == MAP_FAILED) throw_system_error("mapping temporary memory for", folder_, errno);
  regions_.push_back({static_cast<std::byte*>(data), size_t(bytes), in_file});
  in_file ? spilled_ += bytes : free_ -= bytes;
  return {static_cast<std::byte*>(data), size_t(bytes)};
}

void Scratch::done_with(std::span<const std::byte> part) const {
  for (const Region& region : regions_) {
    if (!region.in_file || part.data() < region.data || part.data() >= region.data + region.size) continue;
    // Whole pages inside the part; the rest belongs to neighbours too.
    const size_t page = page_size();
    const size_t begin = (size_t(part.data() - region.data) + page - 1) / page * page;
    const size_t end = size_t(part.data() - region.data + std::ptrdiff_t(part.size())) / page * page;
    if (begin < end) ::madvise(region.data + begin, end - begin, MADV_DONTNEED);
  }
}

}  // namespace prune
