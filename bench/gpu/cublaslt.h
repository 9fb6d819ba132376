// The dense peer: cuBLASLt, the best of its heuristics.
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <memory>

#include "bench/gpu/harness.h"

namespace prune::bench {

inline void cublas(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error("cuBLASLt: status " + std::to_string(int(status)));
}

// Y[n x m] = X[n x k] W[m x k]^T, all row-major.
class DenseProduct {
 public:
  static constexpr int kMaxAlgorithms = 8;
  static constexpr size_t kWorkspace = 64 << 20;

  DenseProduct(int m, int n, int k, cudaDataType in = CUDA_R_16BF, cudaDataType out = CUDA_R_16BF,
               cublasComputeType_t compute = CUBLAS_COMPUTE_32F, cudaDataType scale = CUDA_R_32F)
      : integer_(scale == CUDA_R_32I), workspace_(kWorkspace) {
    cublas(cublasLtCreate(&handle_));
    cublas(cublasLtMatmulDescCreate(&operation_, compute, scale));
    const cublasOperation_t transpose = CUBLAS_OP_T;
    cublas(cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                          sizeof transpose));
    cublas(cublasLtMatrixLayoutCreate(&w_, in, k, m, k));
    cublas(cublasLtMatrixLayoutCreate(&x_, in, k, n, k));
    cublas(cublasLtMatrixLayoutCreate(&y_, out, m, n, m));
    cublasLtMatmulPreference_t preference;
    cublas(cublasLtMatmulPreferenceCreate(&preference));
    const size_t workspace = kWorkspace;
    cublas(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &workspace, sizeof workspace));
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, operation_, w_, x_, y_, y_, preference, kMaxAlgorithms, results_, &found);
    cublasLtMatmulPreferenceDestroy(preference);
    algorithms_ = status == CUBLAS_STATUS_SUCCESS ? found : 0;
  }
  DenseProduct(const DenseProduct&) = delete;
  ~DenseProduct() {
    cublasLtMatrixLayoutDestroy(y_);
    cublasLtMatrixLayoutDestroy(x_);
    cublasLtMatrixLayoutDestroy(w_);
    cublasLtMatmulDescDestroy(operation_);
    cublasLtDestroy(handle_);
  }

  int algorithms() const { return algorithms_; }
  void run(int algorithm, const void* w, const void* x, void* y, cudaStream_t stream) const {
    const float one = 1, zero = 0;
    const int one_i = 1, zero_i = 0;
    cublas(cublasLtMatmul(handle_, operation_, integer_ ? static_cast<const void*>(&one_i) : &one, w, w_, x,
                          x_, integer_ ? static_cast<const void*>(&zero_i) : &zero, y, y_, y, y_,
                          &results_[algorithm].algo, workspace_.get(), kWorkspace, stream));
  }
  // Microseconds of its fastest algorithm.
  double best_time(const Rotation& w, const void* x, void* y, int calls, int replays,
                   cudaStream_t stream) const {
    double best = 1e30;
    for (int a = 0; a < algorithms_; ++a) {
      best = std::min(best, time_graph(stream, calls, replays, [&](int i) { run(a, w[i], x, y, stream); }));
    }
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
