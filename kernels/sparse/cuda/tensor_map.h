// Descriptions of matrices for the tensor copies of sm_90, made on the host.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

inline CUtensorMapDataType map_type(Element element) {
  return element == Element::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
}

// The driver's encoder of tensor maps, found through the runtime so that no driver library is linked.
class TensorMaps {
 public:
  TensorMaps() {
    void* symbol = nullptr;
    cudaDriverEntryPointQueryResult found;
    const cudaError_t code =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol, 12000, cudaEnableDefault, &found);
    if (code != cudaSuccess) {
      status_ = from_cuda(code);
    } else if (found != cudaDriverEntryPointSuccess) {
      status_ = {Reason::kDevice};
    }
    encode_ = reinterpret_cast<Encode>(symbol);
  }

  // A row-major [rows, cols] matrix of 8- or 16-bit elements, `stride` elements from row to row, in boxes of
  // box_rows rows by 128 bytes with the 128-byte swizzle.
  Status make(CUtensorMapDataType type, const void* data, int64_t rows, int64_t cols, int64_t stride,
              int box_rows, CUtensorMap* map) const {
    if (!status_.ok()) return status_;
    const cuuint32_t bytes = type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1 : 2;
    const cuuint64_t size[2] = {cuuint64_t(cols), cuuint64_t(rows)},
                     strides[1] = {cuuint64_t(stride) * bytes};
    const cuuint32_t box[2] = {128 / bytes, cuuint32_t(box_rows)}, step[2] = {1, 1};
    const CUresult result = encode_(map, type, 2, const_cast<void*>(data), size, strides, box, step,
                                    CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? Status{} : Status{Reason::kShape};
  }

 private:
  using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                              const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                              CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  Encode encode_ = nullptr;
  Status status_;
};

}  // namespace prune::kernels::cuda
