// The sparse peer: cuSPARSELt after its own search. Its header must be there at build time
// (PRUNE_CUSPARSELT), the library itself is looked for at run time.
#pragma once

#ifdef PRUNE_CUSPARSELT

#include <cusparseLt.h>
#include <dlfcn.h>

#include "bench/gpu/harness.h"

namespace prune::bench {

// Y[n x m] = X[n x k] W[m x k]^T, W 2:4 and compressed by the library, all row-major.
class CusparseLtProduct {
 public:
  // The path of the library; empty: the loader's.
  explicit CusparseLtProduct(const std::string& path)
      : library_(dlopen(path.empty() ? "libcusparseLt.so.0" : path.c_str(), RTLD_NOW)) {}
  CusparseLtProduct(const CusparseLtProduct&) = delete;
  bool found() const { return library_ != nullptr; }

  // Microseconds of the product with the 2:4 matrix at `dense`, weights rotated past the L2; weights and x
  // are of type `in`, y of `out`.
  double time(int m, int n, int k, cudaDataType in, cudaDataType out, const void* dense, const void* x,
              void* y, size_t rotated, int replays, cudaStream_t stream) const {
    cusparseLtHandle_t handle;
    cusparseLtMatDescriptor_t w, xd, yd;
    cusparseLtMatmulDescriptor_t operation;
    cusparseLtMatmulAlgSelection_t selection;
    cusparseLtMatmulPlan_t plan;
    constexpr unsigned kAlign = 16;
    call("cusparseLtInit", &cusparseLtInit, &handle);
    call("cusparseLtStructuredDescriptorInit", &cusparseLtStructuredDescriptorInit, &handle, &w, m, k, k,
         kAlign, in, CUSPARSE_ORDER_ROW, CUSPARSELT_SPARSITY_50_PERCENT);
    // X^T [k x n] and Y^T [m x n], column-major: X and Y as they lie.
    call("cusparseLtDenseDescriptorInit", &cusparseLtDenseDescriptorInit, &handle, &xd, k, n, k, kAlign, in,
         CUSPARSE_ORDER_COL);
    call("cusparseLtDenseDescriptorInit", &cusparseLtDenseDescriptorInit, &handle, &yd, m, n, m, kAlign, out,
         CUSPARSE_ORDER_COL);
    call("cusparseLtMatmulDescriptorInit", &cusparseLtMatmulDescriptorInit, &handle, &operation,
         CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_NON_TRANSPOSE, &w, &xd, &yd, &yd,
         in == CUDA_R_8I ? CUSPARSE_COMPUTE_32I : CUSPARSE_COMPUTE_32F);
    call("cusparseLtMatmulAlgSelectionInit", &cusparseLtMatmulAlgSelectionInit, &handle, &selection,
         &operation, CUSPARSELT_MATMUL_ALG_DEFAULT);
    call("cusparseLtMatmulPlanInit", &cusparseLtMatmulPlanInit, &handle, &plan, &operation, &selection);
    size_t compressed_bytes = 0, buffer_bytes = 0, workspace_bytes = 0;
    call("cusparseLtSpMMACompressedSize", &cusparseLtSpMMACompressedSize, &handle, &plan, &compressed_bytes,
         &buffer_bytes);
    const Rotation compressed(compressed_bytes, rotated);
    const DeviceMemory buffer(buffer_bytes + 16);
    call("cusparseLtSpMMACompress", &cusparseLtSpMMACompress, &handle, &plan, dense, compressed[0],
         buffer.get(), stream);
    compressed.spread(stream);
    const float one = 1, zero = 0;
    const DeviceMemory search_workspace(256u << 20);
    call("cusparseLtMatmulSearch", &cusparseLtMatmulSearch, &handle, &plan, &one, compressed[0], x, &zero, y,
         y, search_workspace.get(), &stream, 1);
    call("cusparseLtMatmulGetWorkspace", &cusparseLtMatmulGetWorkspace, &handle, &plan, &workspace_bytes);
    const DeviceMemory workspace(workspace_bytes + 16);
    const double us = time_graph(stream, std::max(4, compressed.count()), replays, [&](int i) {
      call("cusparseLtMatmul", &cusparseLtMatmul, &handle, &plan, &one, compressed[i], x, &zero, y, y,
           workspace.get(), &stream, 1);
    });
    call("cusparseLtMatmulPlanDestroy", &cusparseLtMatmulPlanDestroy, &plan);
    call("cusparseLtDestroy", &cusparseLtDestroy, &handle);
    return us;
  }

 private:
  // The declaration gives the type, the loaded library the code.
  template <class Function, class... Arguments>
  void call(const char* name, Function*, Arguments... arguments) const {
    void* symbol = dlsym(library_, name);
    if (!symbol) throw std::runtime_error(std::string("cuSPARSELt lacks ") + name);
    const cusparseStatus_t status = reinterpret_cast<Function*>(symbol)(arguments...);
    if (status != CUSPARSE_STATUS_SUCCESS)
      throw std::runtime_error(std::string(name) + ": status " + std::to_string(int(status)));
  }

  void* library_;
};

}  // namespace prune::bench

#endif
