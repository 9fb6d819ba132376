// The peer for very sparse weights: cuSPARSE, the best of its algorithms after its own preprocessing. The
// library is loaded at run time (PRUNE_CUSPARSE_LIBRARY names it, otherwise the loader's libcusparse.so.12).
#pragma once

#include <cusparse.h>
#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "bench/gpu/harness.h"

namespace prune::bench {

// Y[n x m] = X[n x k] W[m x k]^T, W CSR with 32-bit indices and offsets, the rest bfloat16, sums in single
// precision.
class CusparseProduct {
 public:
  CusparseProduct() {
    const char* path = std::getenv("PRUNE_CUSPARSE_LIBRARY");
    library_ = dlopen(path ? path : "libcusparse.so.12", RTLD_NOW);
    if (library_) must(call(&cusparseCreate, "cusparseCreate", &handle_));
  }
  CusparseProduct(const CusparseProduct&) = delete;
  ~CusparseProduct() {
    if (library_) call(&cusparseDestroy, "cusparseDestroy", handle_);
  }
  bool found() const { return library_ != nullptr; }

  // Microseconds of its fastest algorithm; the weights' values and columns are rotated past the L2.
  double best_time(int m, int n, int k, int64_t count, const void* indptr, const Rotation& indices,
                   const Rotation& values, void* x, void* y, int replays, cudaStream_t stream) const {
    must(call(&cusparseSetStream, "cusparseSetStream", handle_, stream));
    double best = 1e30;
    const int algorithms[] = {CUSPARSE_SPMM_CSR_ALG1, CUSPARSE_SPMM_CSR_ALG2, CUSPARSE_SPMM_CSR_ALG3};
    const int vector_algorithms[] = {CUSPARSE_SPMV_CSR_ALG1, CUSPARSE_SPMV_CSR_ALG2};
    if (n == 1) {
      for (const int a : vector_algorithms)
        best = std::min(best, time(m, n, k, count, indptr, indices, values, x, y, a, true, replays, stream));
    }
    for (const int a : algorithms)
      best = std::min(best, time(m, n, k, count, indptr, indices, values, x, y, a, false, replays, stream));
    return best;
  }

 private:
  static void must(cusparseStatus_t status) {
    if (status != CUSPARSE_STATUS_SUCCESS)
      throw std::runtime_error("cuSPARSE: status " + std::to_string(int(status)));
  }
  // The declaration gives the type, the loaded library the code.
  template <class Function, class... Arguments>
  cusparseStatus_t call(Function*, const char* name, Arguments... arguments) const {
    void* symbol = dlsym(library_, name);
    if (!symbol) throw std::runtime_error(std::string("cuSPARSE lacks ") + name);
    return reinterpret_cast<Function*>(symbol)(arguments...);
  }

  // Infinite where the algorithm does not take the problem.
  double time(int m, int n, int k, int64_t count, const void* indptr, const Rotation& indices,
              const Rotation& values, void* x, void* y, int algorithm, bool vector, int replays,
              cudaStream_t stream) const {
    constexpr cudaDataType kType = CUDA_R_16BF;
    constexpr cusparseOperation_t kPlain = CUSPARSE_OPERATION_NON_TRANSPOSE;
    const float one = 1, zero = 0;
    const int copies = std::min(values.count(), 64);
    cusparseDnMatDescr_t xs, ys;
    cusparseDnVecDescr_t x_vector, y_vector;
    must(call(&cusparseCreateDnMat, "cusparseCreateDnMat", &xs, k, n, k, x, kType, CUSPARSE_ORDER_COL));
    must(call(&cusparseCreateDnMat, "cusparseCreateDnMat", &ys, m, n, m, y, kType, CUSPARSE_ORDER_COL));
    must(call(&cusparseCreateDnVec, "cusparseCreateDnVec", &x_vector, k, x, kType));
    must(call(&cusparseCreateDnVec, "cusparseCreateDnVec", &y_vector, m, y, kType));
    std::vector<cusparseSpMatDescr_t> weights(static_cast<size_t>(copies));
    std::vector<std::unique_ptr<DeviceMemory>> buffers;
    const auto multiply = [&](cusparseSpMatDescr_t w, void* buffer) {
      if (vector)
        return call(&cusparseSpMV, "cusparseSpMV", handle_, kPlain, &one, w, x_vector, &zero, y_vector,
                    CUDA_R_32F, cusparseSpMVAlg_t(algorithm), buffer);
      return call(&cusparseSpMM, "cusparseSpMM", handle_, kPlain, kPlain, &one, w, xs, &zero, ys, CUDA_R_32F,
                  cusparseSpMMAlg_t(algorithm), buffer);
    };
    bool takes = true;
    for (int i = 0; i < copies; ++i) {
      cusparseSpMatDescr_t& w = weights[size_t(i)];
      must(call(&cusparseCreateCsr, "cusparseCreateCsr", &w, m, k, count, const_cast<void*>(indptr),
                indices[i], values[i], CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO,
                kType));
      size_t bytes = 0;
      if (vector) {
        takes = takes && call(&cusparseSpMV_bufferSize, "cusparseSpMV_bufferSize", handle_, kPlain, &one, w,
                              x_vector, &zero, y_vector, CUDA_R_32F, cusparseSpMVAlg_t(algorithm),
                              &bytes) == CUSPARSE_STATUS_SUCCESS;
      } else {
        takes = takes && call(&cusparseSpMM_bufferSize, "cusparseSpMM_bufferSize", handle_, kPlain, kPlain,
                              &one, w, xs, &zero, ys, CUDA_R_32F, cusparseSpMMAlg_t(algorithm),
                              &bytes) == CUSPARSE_STATUS_SUCCESS;
      }
      buffers.push_back(std::make_unique<DeviceMemory>(bytes + 16));
      if (takes && vector) {
        takes = call(&cusparseSpMV_preprocess, "cusparseSpMV_preprocess", handle_, kPlain, &one, w, x_vector,
                     &zero, y_vector, CUDA_R_32F, cusparseSpMVAlg_t(algorithm),
                     static_cast<void*>(buffers.back()->get())) == CUSPARSE_STATUS_SUCCESS;
      } else if (takes) {
        takes = call(&cusparseSpMM_preprocess, "cusparseSpMM_preprocess", handle_, kPlain, kPlain, &one, w,
                     xs, &zero, ys, CUDA_R_32F, cusparseSpMMAlg_t(algorithm),
                     static_cast<void*>(buffers.back()->get())) == CUSPARSE_STATUS_SUCCESS;
      }
      if (takes) takes = multiply(w, buffers.back()->get()) == CUSPARSE_STATUS_SUCCESS;
    }
    double us = 1e30;
    if (takes)
      us = time_graph(stream, std::max(8, copies), replays, [&](int i) {
        must(multiply(weights[size_t(i % copies)], buffers[size_t(i % copies)]->get()));
      });
    for (cusparseSpMatDescr_t w : weights) call(&cusparseDestroySpMat, "cusparseDestroySpMat", w);
    call(&cusparseDestroyDnVec, "cusparseDestroyDnVec", x_vector);
    call(&cusparseDestroyDnVec, "cusparseDestroyDnVec", y_vector);
    call(&cusparseDestroyDnMat, "cusparseDestroyDnMat", xs);
    call(&cusparseDestroyDnMat, "cusparseDestroyDnMat", ys);
    return us;
  }

  void* library_ = nullptr;
  cusparseHandle_t handle_ = nullptr;
};

}  // namespace prune::bench
