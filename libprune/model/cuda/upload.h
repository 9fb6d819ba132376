// Bytes of a checkpoint in device memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "libprune/model/cuda/device.h"

namespace prune::gpu {

// Bytes of the host in device memory; empty ones have an address too.
class Uploaded {
 public:
  Uploaded(const void* bytes, size_t size) : memory_(std::max<size_t>(size, 16)) {
    cuda(cudaMemcpy(memory_.get(), bytes, size, cudaMemcpyHostToDevice));
  }
  // One after another.
  explicit Uploaded(const std::vector<std::span<const std::byte>>& parts)
      : memory_(std::max<size_t>(total(parts), 16)) {
    size_t at = 0;
    for (const auto& part : parts) {
      cuda(cudaMemcpy(memory_.get() + at, part.data(), part.size(), cudaMemcpyHostToDevice));
      at += part.size();
    }
  }
  explicit Uploaded(std::span<const std::byte> bytes) : Uploaded(bytes.data(), bytes.size()) {}
  template <class T>
  explicit Uploaded(const std::vector<T>& values) : Uploaded(values.data(), values.size() * sizeof(T)) {}
  template <class T = void>
  const T* get() const {
    return reinterpret_cast<const T*>(memory_.get());
  }
  size_t bytes() const { return memory_.bytes(); }

 private:
  static size_t total(const std::vector<std::span<const std::byte>>& parts) {
    size_t sum = 0;
    for (const auto& part : parts) sum += part.size();
    return sum;
  }

  DeviceMemory memory_;
};

template <class T>
T* as(const DeviceMemory& memory) {
  return reinterpret_cast<T*>(memory.get());
}
template <class T>
T read_back(const DeviceMemory& memory, size_t at = 0) {
  T value;
  cuda(cudaMemcpy(&value, as<T>(memory) + at, sizeof value, cudaMemcpyDeviceToHost));
  return value;
}

}  // namespace prune::gpu
