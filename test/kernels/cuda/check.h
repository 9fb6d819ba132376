// What the GPU tests need and nothing more, so that they build with a compiler and the CUDA toolkit alone:
// checks that count, device arrays, random numbers. A program returns 0 when all is well, 1 when a check
// failed, 77 when there is no GPU to test on.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

namespace prune::test {

inline int checks = 0;
inline int failures = 0;

inline bool check(bool good, const std::string& what) {
  ++checks;
  if (good) return true;
  if (++failures <= 20) std::printf("FAILED  %s\n", what.c_str());
  return false;
}
inline int report(const char* program) {
  std::printf("%s: %d checks, %d failed\n", program, checks, failures);
  return failures == 0 && checks > 0 ? 0 : 1;
}

inline void cuda(cudaError_t code) {
  if (code == cudaSuccess) return;
  std::printf("CUDA: %s\n", cudaGetErrorString(code));
  std::exit(code == cudaErrorNoDevice || code == cudaErrorInsufficientDriver ? 77 : 1);
}

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) { cuda(cudaMalloc(&data_, size * sizeof(T) + 16)); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    cuda(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  T* get() const { return data_; }
  size_t size() const { return size_; }
  void fill_bytes(int byte) { cuda(cudaMemset(data_, byte, size_ * sizeof(T))); }
  std::vector<T> host() const {
    std::vector<T> values(size_);
    cuda(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// SplitMix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  int below(int n) { return int(bits() >> 33) % n; }
  double uniform() { return double(bits() >> 11) / double(1ull << 53) * 2 - 1; }

 private:
  uint64_t state_;
};

template <class T>
T from_double(double v) {
  return T(float(v));
}
// What holds a T's bits.
template <class T>
using Bits =
    std::conditional_t<sizeof(T) == 1, uint8_t, std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>>;
template <class T>
double to_double(Bits<T> bits) {
  return double(float(std::bit_cast<T>(bits)));
}
template <class T>
Bits<T> bits_of(T v) {
  return std::bit_cast<Bits<T>>(v);
}

// Runs body(random, quick) and reports. With "quick" as argument: fewer sizes, for runs under a sanitizer.
template <class Body>
int run_test(const char* program, uint64_t seed, int argc, char** argv, const Body& body) {
  cuda(cudaFree(nullptr));
  Random random(seed);
  body(random, argc > 1 && std::string(argv[1]) == "quick");
  return report(program);
}

}  // namespace prune::test
