// Working memory for a pass that may need more than there is: what does not fit lies in a file without a
// name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace prune {

class Scratch {
 public:
  // Hands out `memory` bytes as memory; all beyond as maps of temporary files in `folder`, whose pages the
  // kernel may write out and take back. The files have no name: they are gone when the process is.
  Scratch(uint64_t memory, std::filesystem::path folder);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Zeros, aligned to a page, until the Scratch ends. Throws Error(kRuntime) when the folder can't hold them.
  std::span<std::byte> take(uint64_t bytes);
  // The same, always in a file: for what is written long before it is read.
  std::span<std::byte> take_in_file(uint64_t bytes);
  template <class T>
  std::span<T> take_array(uint64_t count) {
    return {reinterpret_cast<T*>(take(count * sizeof(T)).data()), size_t(count)};
  }

  // A part that is not needed soon: where it lies in a file its pages leave the resident memory. The values
  // stay.
  void done_with(std::span<const std::byte> part) const;

  // Ends all that was taken.
  void clear();

  uint64_t spilled() const { return spilled_; }  // bytes in files

 private:
  struct Region {
    std::byte* data;
    size_t size;
    bool in_file;
  };
  enum class Place { kMemory, kFile };
  std::span<std::byte> map(uint64_t bytes, Place place);
  int make_file(uint64_t bytes) const;

  uint64_t free_;
  uint64_t spilled_ = 0;
  std::filesystem::path folder_;
  std::vector<Region> regions_;
};

}  // namespace prune
