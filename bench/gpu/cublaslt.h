// The dense peer: cuBLASLt, the best of its heuristics. Its header must be there at build time; the library
// is loaded at run time (PRUNE_CUBLASLT_LIBRARY names it, otherwise the loader's libcublasLt.so of the
// header's release).
#pragma once

#include <cublasLt.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "bench/gpu/harness.h"

namespace prune::bench {

class CublasLt {
 public:
  // The one of this process. Throws where there is none.
  static const CublasLt& library() {
    static const CublasLt library;
    return library;
  }
  // `Function` is the type of the declaration, the loaded library has the code.
  template <class Function, class... Arguments>
  auto call(const char* name, Arguments... arguments) const {
    void* symbol = dlsym(library_, name);
    if (!symbol) throw std::runtime_error(std::string("cuBLASLt lacks ") + name);
    return reinterpret_cast<Function*>(symbol)(arguments...);
  }
  // The same, and throws what it refuses.
  template <class Function, class... Arguments>
  void must(const char* name, Arguments... arguments) const {
    const cublasStatus_t status = call<Function>(name, arguments...);
    if (status != CUBLAS_STATUS_SUCCESS)
      throw std::runtime_error(std::string(name) + ": status " + std::to_string(int(status)));
  }
  // "13.0.2"
  std::string version() const {
    const size_t v = call<decltype(cublasLtGetVersion)>("cublasLtGetVersion");
    return std::to_string(v / 10000) + "." + std::to_string(v % 10000 / 100) + "." + std::to_string(v % 100);
  }

 private:
  CublasLt() {
    const std::string standard = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
    const char* path = std::getenv("PRUNE_CUBLASLT_LIBRARY");
    library_ = dlopen(path ? path : standard.c_str(), RTLD_NOW);
    if (!library_) {
      throw std::runtime_error("cuBLASLt, the dense peer, was not found (" + std::string(dlerror()) +
                               "): install it, or name it in PRUNE_CUBLASLT_LIBRARY");
    }
  }

  void* library_;
};

// Calls a function of the library by its name.
#define PRUNE_CUBLASLT(function, ...) CublasLt::library().must<decltype(function)>(#function, __VA_ARGS__)

// Y[n x m] = X[n x k] W[m x k]^T, all row-major.
class DenseProduct {
 public:
  static constexpr int kMaxAlgorithms = 8;
  static constexpr size_t kWorkspace = 64 << 20;

  DenseProduct(int m, int n, int k, cudaDataType in = CUDA_R_16BF, cudaDataType out = CUDA_R_16BF,
               cublasComputeType_t compute = CUBLAS_COMPUTE_32F, cudaDataType scale = CUDA_R_32F,
               bool fast_sums = false)
      : integer_(scale == CUDA_R_32I), workspace_(kWorkspace) {
    PRUNE_CUBLASLT(cublasLtCreate, &handle_);
    PRUNE_CUBLASLT(cublasLtMatmulDescCreate, &operation_, compute, scale);
    const cublasOperation_t transpose = CUBLAS_OP_T;
    PRUNE_CUBLASLT(cublasLtMatmulDescSetAttribute, operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                   sizeof transpose);
    if (fast_sums) {  // e4m3: the tensor cores' own sums to the end
      const int8_t fast = 1;
      PRUNE_CUBLASLT(cublasLtMatmulDescSetAttribute, operation_, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast,
                     sizeof fast);
    }
    PRUNE_CUBLASLT(cublasLtMatrixLayoutCreate, &w_, in, k, m, k);
    PRUNE_CUBLASLT(cublasLtMatrixLayoutCreate, &x_, in, k, n, k);
    PRUNE_CUBLASLT(cublasLtMatrixLayoutCreate, &y_, out, m, n, m);
    cublasLtMatmulPreference_t preference;
    PRUNE_CUBLASLT(cublasLtMatmulPreferenceCreate, &preference);
    const size_t workspace = kWorkspace;
    PRUNE_CUBLASLT(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                   &workspace, sizeof workspace);
    int found = 0;
    const cublasStatus_t status = CublasLt::library().call<decltype(cublasLtMatmulAlgoGetHeuristic)>(
        "cublasLtMatmulAlgoGetHeuristic", handle_, operation_, w_, x_, y_, y_, preference, kMaxAlgorithms,
        results_, &found);
    PRUNE_CUBLASLT(cublasLtMatmulPreferenceDestroy, preference);
    algorithms_ = status == CUBLAS_STATUS_SUCCESS ? found : 0;
  }
  DenseProduct(const DenseProduct&) = delete;
  ~DenseProduct() {
    const CublasLt& library = CublasLt::library();
    for (cublasLtMatrixLayout_t layout : {y_, x_, w_})
      library.call<decltype(cublasLtMatrixLayoutDestroy)>("cublasLtMatrixLayoutDestroy", layout);
    library.call<decltype(cublasLtMatmulDescDestroy)>("cublasLtMatmulDescDestroy", operation_);
    library.call<decltype(cublasLtDestroy)>("cublasLtDestroy", handle_);
  }

  int algorithms() const { return algorithms_; }
  void run(int algorithm, const void* w, const void* x, void* y, cudaStream_t stream) const {
    const float one = 1, zero = 0;
    const int one_i = 1, zero_i = 0;
    PRUNE_CUBLASLT(cublasLtMatmul, handle_, operation_, integer_ ? static_cast<const void*>(&one_i) : &one, w,
                   w_, x, x_, integer_ ? static_cast<const void*>(&zero_i) : &zero, y, y_, y, y_,
                   &results_[algorithm].algo, workspace_.get(), kWorkspace, stream);
  }
  // Of each algorithm, the microseconds.
  std::vector<double> times(const Rotation& w, const void* x, void* y, int calls, int replays,
                            cudaStream_t stream) const {
    std::vector<double> times;
    times.reserve(size_t(algorithms_));
    for (int a = 0; a < algorithms_; ++a) {
      times.push_back(time_graph(stream, calls, replays, [&](int i) { run(a, w[i], x, y, stream); }));
    }
    return times;
  }
  // Microseconds of its fastest algorithm.
  double best_time(const Rotation& w, const void* x, void* y, int calls, int replays,
                   cudaStream_t stream) const {
    double best = 1e30;
    for (const double us : times(w, x, y, calls, replays, stream)) best = std::min(best, us);
    return best;
  }

 private:
  bool integer_;
  DeviceMemory workspace_;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
  cublasLtMatmulHeuristicResult_t results_[kMaxAlgorithms];
  int algorithms_ = 0;
};

}  // namespace prune::bench
