// What the NVIDIA driver says of this machine's GPUs. The driver is asked at run time: neither the build nor
// the program needs CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prune::app {

struct Gpu {
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  uint64_t memory = 0;
};

struct GpuDriver {
  std::string fault;  // why there is no GPU to use, in words; empty where there is one
  int version = 0;    // 1000 * major + 10 * minor of the newest CUDA that the driver knows; 0: no driver
  std::vector<Gpu> gpus;
};

GpuDriver ask_gpu_driver();

// Whether this build has the CUDA kernels.
bool has_cuda_kernels();
// What a GPU can run of them (docs/kernels-gpu.md): "all", "those for Ampere", or "none: " and why.
std::string kernels_for(const Gpu& gpu, int driver_version);
// Throws Error(kRuntime), saying what is missing, where the first GPU can run none.
void require_gpu_kernels(const GpuDriver& driver);

// "13.0"
std::string cuda_version(int version);

}  // namespace prune::app
