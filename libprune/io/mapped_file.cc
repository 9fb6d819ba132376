#include "libprune/io/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "libprune/io/posix.h"

namespace prune {
namespace {

size_t page_size() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

// madvise() reads through the const: it changes what is resident, never the bytes.
void advise(const std::byte* data, size_t begin, size_t end, int advice) {
  if (begin < end) ::madvise(const_cast<std::byte*>(data) + begin, end - begin, advice);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const RegularFile file = open_regular_file(path);
  size_ = static_cast<size_t>(file.size);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd.get(), 0);
  if (data == MAP_FAILED) throw_system_error("mapping", path, errno);
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::will_need(size_t offset, size_t size) const {
  if (offset >= size_ || size == 0) return;
  const size_t end = size < size_ - offset ? offset + size : size_;
  advise(data_, offset / page_size() * page_size(), end, MADV_WILLNEED);
}

void MappedFile::done_with(size_t offset, size_t size) const {
  if (offset >= size_ || size == 0) return;
  // A stream reads on from its end, so the page that holds the end stays, and goes with the next range.
  const size_t end = size < size_ - offset ? (offset + size) / page_size() * page_size() : size_;
  advise(data_, offset / page_size() * page_size(), end, MADV_DONTNEED);
}

}  // namespace prune
