// The CUDA runtime as the library uses it: what it refuses becomes Error(kRuntime), and memory frees itself.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>

#include "kernels/sparse/cuda/status.h"

namespace prune::gpu {

inline void cuda(cudaError_t code) {
  if (code != cudaSuccess) throw_runtime(std::string("CUDA: ") + cudaGetErrorString(code));
}
// Answers of the kernels that can only be faults where it is used.
inline void must(const kernels::cuda::Status& status) {
  if (!status.ok()) throw_runtime(std::string("CUDA kernel: ") + describe(status));
}

// Elements in device memory, or none: null then.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t size) : size_(size) {
    if (size > 0) cuda(cudaMalloc(&data_, size * sizeof(T)));
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    if (size_ > 0) cuda(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice));
  }
  DeviceArray(DeviceArray&& other) noexcept { swap(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceArray() { cudaFree(data_); }

  T* get() const { return data_; }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }

 private:
  void swap(DeviceArray& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  T* data_ = nullptr;
  size_t size_ = 0;
};

using DeviceMemory = DeviceArray<uint8_t>;

// Memory of the host that the device copies from and to by itself.
template <class T>
class PinnedArray {
 public:
  explicit PinnedArray(size_t size) : size_(size) { cuda(cudaMallocHost(&data_, size * sizeof(T))); }
  PinnedArray(const PinnedArray&) = delete;
  ~PinnedArray() { cudaFreeHost(data_); }
  T* get() const { return data_; }
  size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  size_t size_;
};

class Stream {
 public:
  Stream() { cuda(cudaStreamCreate(&stream_)); }
  Stream(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  cudaStream_t get() const { return stream_; }
  void wait() const { cuda(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace prune::gpu
