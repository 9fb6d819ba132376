// Memory beside which nothing can be touched.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <new>

namespace prune::kernels {

// Bytes whose end lies before a page that must not be read, or whose beginning lies behind one.
class FencedBytes {
 public:
  FencedBytes() {
    void* pages = mmap(nullptr, 4 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    pages_ = static_cast<std::byte*>(pages);
    mprotect(pages_ + page_, 2 * page_, PROT_READ | PROT_WRITE);
  }
  FencedBytes(const FencedBytes&) = delete;
  FencedBytes& operator=(const FencedBytes&) = delete;
  ~FencedBytes() { munmap(pages_, 4 * page_); }

  std::byte* first() { return pages_ + page_; }
  std::byte* last(size_t bytes) { return pages_ + 3 * page_ - bytes; }

 private:
  const size_t page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::byte* pages_ = nullptr;
};

}  // namespace prune::kernels
