// Dense products by cuBLASLt. Its header must be there at build time; the library is loaded at run time
// (PRUNE_CUBLASLT_LIBRARY names it, otherwise the loader's libcublasLt.so of the header's release).
#pragma once

#include <cublasLt.h>
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "libprune/model/cuda/device.h"

namespace prune::gpu {

class CublasLt {
 public:
  // The one of this process. Throws where there is none.
  static const CublasLt& library() {
    static const CublasLt library;
    return library;
  }
  // `Function` is the type of the declaration, the loaded library has the code.
  template <class Function>
  Function* find(const char* name) const {
    void* symbol = dlsym(library_, name);
    if (!symbol) throw_runtime(std::string("cuBLASLt lacks ") + name);
    return reinterpret_cast<Function*>(symbol);
  }
  template <class Function, class... Arguments>
  auto call(const char* name, Arguments... arguments) const {
    return find<Function>(name)(arguments...);
  }
  // The same, and throws what it refuses.
  template <class Function, class... Arguments>
  void must(const char* name, Arguments... arguments) const {
    require_success(name, call<Function>(name, arguments...));
  }
  static void require_success(const char* name, cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS)
      throw_runtime(std::string(name) + ": status " + std::to_string(int(status)));
  }
  // One for all products of the process.
  static cublasLtHandle_t handle() {
    static cublasLtHandle_t handle = [] {
      cublasLtHandle_t made = nullptr;
      library().must<decltype(cublasLtCreate)>("cublasLtCreate", &made);
      return made;
    }();
    return handle;
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
      throw_runtime("cuBLASLt, which makes dense products, was not found (" + std::string(dlerror()) +
                    "): install it, or name it in PRUNE_CUBLASLT_LIBRARY");
    }
  }

  void* library_;
};

// Calls a function of the library by its name.
#define PRUNE_CUBLASLT(function, ...) \
  ::prune::gpu::CublasLt::library().must<decltype(function)>(#function, __VA_ARGS__)

// Y[n x m] = X[n x k] W[m x k]^T, all row-major.
class DenseProduct {
 public:
  static constexpr int kMaxAlgorithms = 8;
  static constexpr size_t kWorkspace = 64 << 20;

  // `workspace`: kWorkspace bytes, which products that don't run at once can share. `y_stride`: elements from
  // row to row of Y; 0: m.
  DenseProduct(int m, int n, int k, cudaDataType in = CUDA_R_16BF, cudaDataType out = CUDA_R_16BF,
               cublasComputeType_t compute = CUBLAS_COMPUTE_32F, cudaDataType scale = CUDA_R_32F,
               bool fast_sums = false, std::shared_ptr<const DeviceMemory> workspace = nullptr,
               int64_t y_stride = 0)
      : integer_(scale == CUDA_R_32I),
        workspace_(workspace ? std::move(workspace) : std::make_shared<const DeviceMemory>(kWorkspace)) {
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
    PRUNE_CUBLASLT(cublasLtMatrixLayoutCreate, &y_, out, m, n, y_stride > 0 ? y_stride : m);
    cublasLtMatmulPreference_t preference;
    PRUNE_CUBLASLT(cublasLtMatmulPreferenceCreate, &preference);
    const size_t bytes = kWorkspace;
    PRUNE_CUBLASLT(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                   &bytes, sizeof bytes);
    if (y_stride > 0 && y_stride != m) {  // a part of a row, which begins anywhere
      const uint32_t aligned = 16;
      for (const auto side :
           {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        PRUNE_CUBLASLT(cublasLtMatmulPreferenceSetAttribute, preference, side, &aligned, sizeof aligned);
    }
    int found = 0;
    const cublasStatus_t status = CublasLt::library().call<decltype(cublasLtMatmulAlgoGetHeuristic)>(
        "cublasLtMatmulAlgoGetHeuristic", CublasLt::handle(), operation_, w_, x_, y_, y_, preference,
        kMaxAlgorithms, results_, &found);
    PRUNE_CUBLASLT(cublasLtMatmulPreferenceDestroy, preference);
    algorithms_ = status == CUBLAS_STATUS_SUCCESS ? found : 0;
  }
  DenseProduct(const DenseProduct&) = delete;
  ~DenseProduct() {
    const CublasLt& library = CublasLt::library();
    for (cublasLtMatrixLayout_t layout : {y_, x_, w_})
      library.call<decltype(cublasLtMatrixLayoutDestroy)>("cublasLtMatrixLayoutDestroy", layout);
    library.call<decltype(cublasLtMatmulDescDestroy)>("cublasLtMatmulDescDestroy", operation_);
  }

  int algorithms() const { return algorithms_; }
  void run(int algorithm, const void* w, const void* x, void* y, cudaStream_t stream) const {
    const float one = 1, zero = 0;
    const int one_i = 1, zero_i = 0;
    // Looked up once: prompts queue hundreds of products.
    static const auto matmul = CublasLt::library().find<decltype(cublasLtMatmul)>("cublasLtMatmul");
    CublasLt::require_success(
        "cublasLtMatmul",
        matmul(CublasLt::handle(), operation_, integer_ ? static_cast<const void*>(&one_i) : &one, w, w_, x,
               x_, integer_ ? static_cast<const void*>(&zero_i) : &zero, y, y_, y, y_,
               &results_[algorithm].algo, workspace_->get(), kWorkspace, stream));
  }

 private:
  bool integer_;
  std::shared_ptr<const DeviceMemory> workspace_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
  cublasLtMatmulHeuristicResult_t results_[kMaxAlgorithms];
  int algorithms_ = 0;
};

}  // namespace prune::gpu
