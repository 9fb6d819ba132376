#include "apps/prune/gpu_driver.h"

#include <dlfcn.h>

#include <array>
#include <memory>

#include <prune/error.h>

namespace prune::app {
namespace {

#ifdef PRUNE_CUDA_KERNELS
constexpr bool kCudaKernels = true;
#else
constexpr bool kCudaKernels = false;
#endif
constexpr int kOldestDriver = 13000;  // the runtime that the kernels are built with is of CUDA 13

// The few words of the driver's interface that are needed (CUDA Driver API, cuda.h): results are ints, 0 is
// success, a device is a number.
using Result = int;
constexpr Result kNoDevice = 100;
constexpr int kMultiprocessors = 16;  // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
constexpr int kMajor = 75;            // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
constexpr int kMinor = 76;

struct Close {
  void operator()(void* library) const { dlclose(library); }
};

class Driver {
 public:
  Driver() : library_(dlopen("libcuda.so.1", RTLD_NOW)) {}
  bool found() const { return library_ != nullptr; }
  // Any failure but a missing function is the driver's own number.
  template <class... Arguments>
  Result call(const char* name, Arguments... arguments) const {
    const auto function = reinterpret_cast<Result (*)(Arguments...)>(dlsym(library_.get(), name));
    return function ? function(arguments...) : -1;
  }

 private:
  std::unique_ptr<void, Close> library_;
};

Gpu describe(const Driver& driver, int device) {
  Gpu gpu;
  std::array<char, 256> name{};
  size_t memory = 0;
  driver.call("cuDeviceGetName", name.data(), int(name.size() - 1), device);
  driver.call("cuDeviceGetAttribute", &gpu.major, kMajor, device);
  driver.call("cuDeviceGetAttribute", &gpu.minor, kMinor, device);
  driver.call("cuDeviceGetAttribute", &gpu.multiprocessors, kMultiprocessors, device);
  driver.call("cuDeviceTotalMem_v2", &memory, device);
  gpu.name = name.data();
  gpu.memory = memory;
  return gpu;
}

}  // namespace

GpuDriver ask_gpu_driver() {
  GpuDriver answer;
  const Driver driver;
  if (!driver.found()) {
    answer.fault = "no NVIDIA driver (libcuda.so.1) was found";
    return answer;
  }
  driver.call("cuDriverGetVersion", &answer.version);
  const Result started = driver.call("cuInit", 0U);
  int count = 0;
  if (started == 0) driver.call("cuDeviceGetCount", &count);
  if (started != 0 && started != kNoDevice) {
    answer.fault = "the NVIDIA driver does not start: error " + std::to_string(started);
  } else if (count == 0) {
    answer.fault = "the NVIDIA driver finds no GPU";
  }
  for (int device = 0; device < count; ++device) answer.gpus.push_back(describe(driver, device));
  return answer;
}

bool has_cuda_kernels() { return kCudaKernels; }

std::string kernels_for(const Gpu& gpu, int driver_version) {
  if (!kCudaKernels) return "none: this build has no CUDA kernels";
  if (driver_version < kOldestDriver) return "none: the driver is older than CUDA 13";
  if (gpu.major == 9) return "all";
  if (gpu.major >= 8) return "those for Ampere";
  return "none: older than compute capability 8.0";
}

void require_gpu_kernels(const GpuDriver& driver) {
  const std::string prefix = "--device cuda: ";
  if (!driver.fault.empty())
    throw_runtime(prefix + driver.fault + ": leave --device out to run on the processor");
  if (driver.version < kOldestDriver) {
    throw_runtime(prefix + "the NVIDIA driver knows CUDA up to " + cuda_version(driver.version) +
                  ", the kernels need 13.0: update the driver");
  }
  if (!kCudaKernels) {
    throw_runtime(
        prefix +
        "this build has no CUDA kernels: configure with -DPRUNE_CUDA=ON where nvcc is, and build again");
  }
  const std::string kernels = kernels_for(driver.gpus.front(), driver.version);
  if (kernels.starts_with("none"))
    throw_runtime(prefix + driver.gpus.front().name + " can run none of the kernels: it is" +
                  kernels.substr(5));
}

std::string cuda_version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace prune::app
