#include "libprune/model/cuda/dense_products.h"

#include <algorithm>
#include <limits>
#include <mutex>

#include "libprune/model/cuda/replay_time.h"

namespace prune::gpu {
DenseProducts::DenseProducts(cudaStream_t stream)
    : stream_(stream), workspace_(std::make_shared<const DeviceMemory>(DenseProduct::kWorkspace)) {
  cuda(cudaGetDevice(&device_));
}

// Kept for the process.
struct DenseProducts::Chosen {
  std::mutex mutex;
  std::map<Shape, int> algorithms;
};

DenseProducts::Chosen& DenseProducts::chosen() {
  static Chosen chosen;
  return chosen;
}

double DenseProducts::milliseconds(const DenseProduct& product, int algorithm,
                                   const std::vector<const Bf16*>& weights, const Bf16* x, void* y) const {
  return time_of_all(stream_, weights, [&](const Bf16* w) { product.run(algorithm, w, x, y, stream_); });
}

int DenseProducts::fastest(const DenseProduct& product, const Shape& shape, const Bf16* w, const Bf16* x,
                           void* y) const {
  if (takes_first_) return 0;
  const std::lock_guard lock(chosen().mutex);
  std::map<Shape, int>& algorithms = chosen().algorithms;
  const auto known = algorithms.find(shape);
  if (known != algorithms.end() && known->second < product.algorithms()) return known->second;
  const auto registered = weights_.find({shape.out, shape.in});
  const std::vector<const Bf16*> weights =
      registered == weights_.end() ? std::vector<const Bf16*>{w} : registered->second;
  int best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int a = 0; a < product.algorithms(); ++a) {
    try {
      const double time = milliseconds(product, a, weights, x, y);
      if (time < least) least = time, best = a;
    } catch (const Error&) {  // an algorithm that is offered and then refused
    }
  }
  return algorithms[shape] = best;
}

DenseProducts::Ready& DenseProducts::ready(const Shape& shape, const Bf16* w, const Bf16* x, void* y) {
  const auto [place, is_new] = ready_.try_emplace(shape);
  Ready& ready = place->second;
  if (!is_new) return ready;
  ready.product =
      std::make_unique<DenseProduct>(shape.out, shape.n, shape.in, CUDA_R_16BF, shape.y_type,
                                     CUBLAS_COMPUTE_32F, CUDA_R_32F, false, workspace_, shape.y_stride);
  if (ready.product->algorithms() == 0) {
    throw_runtime("cuBLASLt has no algorithm for a product of " + std::to_string(shape.n) + " x " +
                  std::to_string(shape.in) + " and " + std::to_string(shape.out) + " rows");
  }
  ready.algorithm = fastest(*ready.product, shape, w, x, y);
  return ready;
}

void DenseProducts::run(int out, int in, const Bf16* w, const Bf16* x, int n, void* y, int64_t y_stride,
                        cudaDataType y_type) {
  const Ready& own = ready({device_, out, in, n, y_stride, y_type}, w, x, y);
  own.product->run(own.algorithm, w, x, y, stream_);
}

}  // namespace prune::gpu
