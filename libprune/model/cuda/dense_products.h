// The dense products of a model on the GPU: for each shape and number of tokens the fastest of cuBLASLt's
// algorithms.
#pragma once

#include <map>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "libprune/model/cuda/cublaslt.h"
#include "libprune/model/cuda/elements.h"

namespace prune::gpu {

class DenseProducts {
 public:
  explicit DenseProducts(cudaStream_t stream);

  // A weight [out, in] that products will be asked for and that stays where it is.
  void add(int out, int in, const Bf16* w) { weights_[{out, in}].push_back(w); }

  // From now on cuBLASLt's own first choice, without trying: equal calls give equal bits in every process.
  void take_first() { takes_first_ = true; }
  bool takes_first() const { return takes_first_; }

  // y [n, out] = x [n, in] w^T in bfloat16 or single precision (y_type), rows of y y_stride elements apart.
  // The first product of a shape and number of tokens tries the algorithms, walking through all weights of
  // that shape as a forward pass does; it writes y, and must not be captured into a graph. What was fastest
  // is kept for the process.
  void run(int out, int in, const Bf16* w, const Bf16* x, int n, void* y, int64_t y_stride,
           cudaDataType y_type);

 private:
  struct Shape {
    int device, out, in, n;
    int64_t y_stride;
    cudaDataType y_type;
    bool operator<(const Shape& other) const {
      return std::tie(device, out, in, n, y_stride, y_type) <
             std::tie(other.device, other.out, other.in, other.n, other.y_stride, other.y_type);
    }
  };
  struct Ready {
    std::unique_ptr<DenseProduct> product;
    int algorithm = 0;
  };
  Ready& ready(const Shape& shape, const Bf16* w, const Bf16* x, void* y);
  int fastest(const DenseProduct& product, const Shape& shape, const Bf16* w, const Bf16* x, void* y) const;
  double milliseconds(const DenseProduct& product, int algorithm, const std::vector<const Bf16*>& weights,
                      const Bf16* x, void* y) const;

  struct Chosen;
  static Chosen& chosen();

  cudaStream_t stream_;
  int device_ = 0;
  bool takes_first_ = false;
  std::shared_ptr<const DeviceMemory> workspace_;
  std::map<std::pair<int, int>, std::vector<const Bf16*>> weights_;
  std::map<Shape, Ready> ready_;
};

}  // namespace prune::gpu
