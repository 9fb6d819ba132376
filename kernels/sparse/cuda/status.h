// How the CUDA entry points answer. They neither throw nor print: the library turns a status into its own
// error.
#pragma once

#include <cuda_runtime_api.h>

namespace prune::kernels::cuda {

enum class Reason {
  kOk,
  kNoDevice,   // no CUDA device, or a driver older than the runtime
  kDevice,     // the device lacks what the kernel needs (compute capability, shared memory, clusters)
  kShape,      // a size that the operation does not take; its contract lists them
  kAlignment,  // a pointer or a leading dimension off its alignment
  kPlan,       // a plan that was not made for this problem or this device
  kCuda,       // the CUDA runtime refused; `code` says why
};

struct [[nodiscard]] Status {
  Reason reason = Reason::kOk;
  cudaError_t code = cudaSuccess;

  bool ok() const { return reason == Reason::kOk; }
};

inline Status from_cuda(cudaError_t code) {
  if (code == cudaSuccess) return {};
  const bool absent = code == cudaErrorNoDevice || code == cudaErrorInsufficientDriver;
  return {absent ? Reason::kNoDevice : Reason::kCuda, code};
}

// One line in plain words: what is wrong and what to do.
inline const char* describe(const Status& status) {
  switch (status.reason) {
    case Reason::kOk:
      return "done";
    case Reason::kNoDevice:
      return status.code == cudaErrorInsufficientDriver ? "the NVIDIA driver is older than this build's CUDA "
                                                          "runtime: update the driver, or run on the CPU"
                                                        : "no CUDA device was found: run on the CPU";
    case Reason::kDevice:
      return "the CUDA device lacks what this kernel needs: run on the CPU, or use a newer device";
    case Reason::kShape:
      return "the matrix sizes do not fit this kernel: see its contract";
    case Reason::kAlignment:
      return "a pointer or a leading dimension is not aligned to 16 bytes";
    case Reason::kPlan:
      return "the plan was made for another problem or another device: make a new one";
    case Reason::kCuda:
      return cudaGetErrorString(status.code);
  }
  return "unknown status";
}

}  // namespace prune::kernels::cuda
