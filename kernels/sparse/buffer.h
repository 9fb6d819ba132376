// Memory that kernels stream: aligned to a cache line, zeroed, owned.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <utility>

namespace prune::kernels {

class Buffer {
 public:
  static constexpr size_t kAlignment = 64;
  // Kernels may load, but never use, this much past the end of a stream.
  static constexpr size_t kSlack = 64;

  Buffer() = default;
  explicit Buffer(size_t bytes)
      : data_(::operator new (bytes + kSlack, std::align_val_t{alignment(bytes)})), size_(bytes) {
    if (bytes >= kHugePage) advise_huge_pages(data_, bytes + kSlack);
    std::memset(data_, 0, bytes + kSlack);
  }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { ::operator delete (data_, std::align_val_t{alignment(size_)}); }

  size_t size() const { return size_; }
  template <class T>
  T* as() {
    return static_cast<T*>(data_);
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }

 private:
  // Large arrays ask for large pages: hardware that prefetches a stream stops at every page's end.
  static constexpr size_t kHugePage = size_t{2} << 20;
  static constexpr size_t alignment(size_t bytes) { return bytes >= kHugePage ? kHugePage : kAlignment; }
  static void advise_huge_pages(void* data, size_t bytes);

  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace prune::kernels
