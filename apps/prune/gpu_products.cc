#include "apps/prune/gpu_products.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <tuple>

#include <prune/error.h>

#include "apps/prune/agreement.h"
#include "apps/prune/gpu_driver.h"
#include "apps/prune/terminal.h"
#include "bench/gpu/cublaslt.h"
#include "libprune/io/staging.h"
#include "libprune/model/cuda/packed_weight.h"
#include "libprune/model/tensor_visit.h"

namespace prune::app {
namespace {

using Clock = std::chrono::steady_clock;
using bench::CallGraph;
using bench::DeviceMemory;
using gpu::must;
using kernels::cuda::ProductCall;

constexpr size_t kRotatedBytes = size_t(400)
                                 << 20;  // dense bytes to walk through: past the L2 also when sparse
constexpr size_t kMostCopies = 256;      // of small weights, whose times are those of launches anyway
constexpr int kTrials = 3;               // of each algorithm and kernel
constexpr float kTolerance =
    0.02f;  // largest |sparse - dense| against the largest |dense|, bf16 rounding included

std::string device_name() {
  int device = 0;
  cudaDeviceProp properties;
  bench::cuda(cudaGetDevice(&device));
  bench::cuda(cudaGetDeviceProperties(&properties, device));
  return properties.name;
}

double shortest(const CallGraph& graph) {
  double least = graph.replay();
  for (int i = 1; i < kTrials; ++i) least = std::min(least, graph.replay());
  return least;
}

// Of several ways to do the same calls, the fastest, and its number.
std::pair<std::unique_ptr<CallGraph>, size_t> fastest(cudaStream_t stream, int calls,
                                                      const std::vector<std::function<void(int)>>& ways) {
  std::unique_ptr<CallGraph> best;
  size_t number = 0;
  double least = 0;
  for (size_t i = 0; i < ways.size(); ++i) {
    auto graph = std::make_unique<CallGraph>(stream, calls, ways[i]);
    const double time = shortest(*graph);
    if (best && time >= least) continue;
    best = std::move(graph), number = i, least = time;
  }
  return {std::move(best), number};
}

// Random numbers, as many as are different, over and over.
template <class T>
void fill(const DeviceMemory& x, size_t size) {
  constexpr size_t kDifferent = size_t(1) << 20;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<T> values(std::min(size, kDifferent));
  for (T& value : values) value = T(normal(random));
  for (size_t at = 0; at < size; at += values.size()) {
    bench::cuda(cudaMemcpy(x.get() + at * sizeof(T), values.data(),
                           std::min(values.size(), size - at) * sizeof(T), cudaMemcpyHostToDevice));
  }
}

// Of cuBLASLt's algorithms for W[out, in] X[rows, in]^T in bfloat16 the fastest, seconds.
double dense_seconds(int out, int in, int rows, const DeviceMemory& w, const DeviceMemory& x,
                     const DeviceMemory& y, cudaStream_t stream) {
  const bench::DenseProduct product(out, rows, in);
  std::vector<std::function<void(int)>> ways;
  ways.reserve(size_t(product.algorithms()));
  for (int a = 0; a < product.algorithms(); ++a)
    ways.emplace_back([&, a](int) { product.run(a, w.get(), x.get(), y.get(), stream); });
  const auto graph = fastest(stream, kTrials, ways).first;
  if (!graph) throw_runtime("cuBLASLt has no algorithm for a large product");
  return shortest(*graph) * 1e-6;
}

// What dense products reach: one row of X reads weights as fast as memory goes, 8192 rows keep the tensor
// cores busy. Random weights: with equal ones the chip draws less power and runs faster.
ProductRoof measure_roof(cudaStream_t stream) {
  constexpr int kRows = 8192, kIn = 8192, kOut = 28672;
  constexpr size_t kPiece = size_t(kRows) * kIn;  // elements
  const DeviceMemory w(size_t(kOut) * kIn * 2), x(kPiece * 2), y(size_t(kOut) * kRows * 2);
  fill<bf16>(x, kPiece);
  for (size_t at = 0; at < size_t(kOut) * kIn; at += kPiece) {
    const size_t count = std::min(kPiece, size_t(kOut) * kIn - at);
    bench::cuda(cudaMemcpyAsync(w.get() + at * 2, x.get(), count * 2, cudaMemcpyDeviceToDevice, stream));
  }
  return {2.0 * kOut * kIn / dense_seconds(kOut, kIn, 1, w, x, y, stream),
          double(kRows) * kIn * kRows / dense_seconds(kRows, kIn, kRows, w, x, y, stream)};
}

// The weights of one shape, type and format: each of them dense and packed on the device, as often as it
// takes to walk past the L2.
class GpuShape {
 public:
  GpuShape(const PackedCheckpoint& packed, const std::vector<const PackedWeight*>& weights,
           const gpu::DeviceTraits& device)
      : packed_(packed), first_(*weights.front()) {
    const size_t count =
        std::min<size_t>(kMostCopies, 1 + kRotatedBytes / std::max<uint64_t>(1, first_.dense_bytes()));
    for (size_t i = 0; i < count; ++i) {
      check_interrupted();
      const PackedWeight& weight = *weights[i % weights.size()];
      packed.check(weight);
      sparse_.push_back(gpu::upload(packed, weight, device));
      if (!sparse_.back()) return;  // nor the others
      upload_dense(weight, i < weights.size() ? nullptr : dense_[i % weights.size()].get());
    }
  }

  // False where no kernel takes the weights with so many rows.
  bool measure(double seconds, cudaStream_t stream, ProductTiming& result) const {
    if (!sparse_.back() || sparse_.front()->products(result.rows).empty()) return false;
    visit_dtype(first_.dtype, [&]<class T>() {
      if constexpr (sizeof(T) == 2) measure_as<T>(seconds, stream, result);
    });
    return true;
  }

 private:
  void upload_dense(const PackedWeight& weight, const DeviceMemory* copy) {
    auto memory = std::make_unique<DeviceMemory>(weight.dense_bytes());
    if (copy) {
      bench::cuda(cudaMemcpy(memory->get(), copy->get(), weight.dense_bytes(), cudaMemcpyDeviceToDevice));
    } else {
      visit_dtype(weight.dtype, [&]<class T>() {
        const Matrix<T> dense = packed_.unpack<T>(weight);
        bench::cuda(cudaMemcpy(memory->get(), dense.data(), weight.dense_bytes(), cudaMemcpyHostToDevice));
      });
    }
    dense_.push_back(std::move(memory));
  }

  template <class T>
  void measure_as(double seconds, cudaStream_t stream, ProductTiming& result) const {
    const int n = result.rows, in = int(first_.in), out = int(first_.out), calls = int(sparse_.size());
    const bool half = first_.dtype == DType::kF16;
    const DeviceMemory x(size_t(n) * size_t(in) * 2), y(size_t(n) * size_t(out) * 2);
    fill<T>(x, size_t(n) * size_t(in));
    const cudaDataType type = half ? CUDA_R_16F : CUDA_R_16BF;
    const bench::DenseProduct product(out, n, in, type, type);
    std::vector<std::function<void(int)>> dense_ways, sparse_ways;
    dense_ways.reserve(size_t(product.algorithms()));
    for (int a = 0; a < product.algorithms(); ++a)
      dense_ways.emplace_back(
          [&, a](int i) { product.run(a, dense_[size_t(i)]->get(), x.get(), y.get(), stream); });
    const ProductCall call{half ? kernels::cuda::Element::kF16 : kernels::cuda::Element::kBf16,
                           n,
                           x.get(),
                           in,
                           y.get(),
                           out,
                           false,
                           stream};
    std::vector<std::vector<gpu::DeviceProduct>> products;
    for (const auto& weight : sparse_) products.push_back(weight->products(n));
    for (size_t w = 0; w < products.front().size(); ++w)
      sparse_ways.emplace_back([&, w](int i) { must(products[size_t(i)][w].run(call)); });
    if (dense_ways.empty()) throw_runtime("cuBLASLt has no algorithm for this product");
    check_agreement<T>(dense_ways.front(), sparse_ways, products.front(), y, size_t(n) * size_t(out), stream);
    const auto [dense, algorithm] = fastest(stream, calls, dense_ways);
    const auto [sparse, kernel] = fastest(stream, calls, sparse_ways);
    Passes dense_passes, sparse_passes;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    while (dense_passes.size() < kLeastPasses || Clock::now() < end) {
      check_interrupted();
      dense_passes.push_back({dense->replay() * 1e-6});
      sparse_passes.push_back({sparse->replay() * 1e-6});
    }
    result.dense = evaluate(dense_passes);
    result.sparse = evaluate(sparse_passes);
    result.dense_kernel = fmt::format("algorithm {} of {}", algorithm + 1, dense_ways.size());
    result.sparse_kernel = products.front()[kernel].kernel;
    result.dense_takes_bf16 = true;
    result.bytes = double(packed_.bytes(first_)) + 2.0 * n * double(out + in);
    result.products = double(packed_.kept(first_)) * n;
  }

  template <class T>
  static std::vector<float> result_of(const std::function<void(int)>& run, const DeviceMemory& y, size_t size,
                                      cudaStream_t stream) {
    bench::cuda(cudaMemsetAsync(y.get(), 0xff, size * sizeof(T), stream));  // NaN
    run(0);
    std::vector<T> values(size);
    bench::cuda(cudaMemcpyAsync(values.data(), y.get(), size * sizeof(T), cudaMemcpyDeviceToHost, stream));
    bench::cuda(cudaStreamSynchronize(stream));
    return {values.begin(), values.end()};
  }

  template <class T>
  void check_agreement(const std::function<void(int)>& dense,
                       const std::vector<std::function<void(int)>>& sparse,
                       const std::vector<gpu::DeviceProduct>& products, const DeviceMemory& y, size_t size,
                       cudaStream_t stream) const {
    const std::vector<float> expected = result_of<T>(dense, y, size, stream);
    for (size_t w = 0; w < sparse.size(); ++w) {
      const Agreement agreement = compare(expected, result_of<T>(sparse[w], y, size, stream));
      if (agreement.is_within(kTolerance)) continue;
      throw_runtime(
          fmt::format("{}: the sparse kernel {} differs from the dense product by {:.3g} (largest "
                      "value {:.3g})",
                      quote_name(first_.tensor), products[w].kernel, agreement.error, agreement.largest));
    }
  }

  const PackedCheckpoint& packed_;
  const PackedWeight& first_;
  std::vector<std::unique_ptr<gpu::DevicePackedWeight>> sparse_;
  std::vector<std::unique_ptr<DeviceMemory>> dense_;
};

GpuTimings time_all(const PackedCheckpoint& packed, const std::vector<int>& rows, double seconds) {
  GpuTimings result;
  const gpu::DeviceTraits device = gpu::current_traits();
  result.gpu = device_name();
  const gpu::Stream stream;
  result.peer = "cuBLASLt " + bench::CublasLt::library().version();
  result.roof = measure_roof(stream.get());
  for (const WeightGroup& group : group_by_shape(packed)) {
    const GpuShape shape(packed, group.weights, device);
    for (const int n : rows) {
      ProductTiming timing = group.timing(n);
      if (shape.measure(seconds, stream.get(), timing)) {
        result.products.push_back(std::move(timing));
      } else {
        result.left_out.push_back(fmt::format("{} {} with {} rows", timing.dtype, timing.format, n));
      }
    }
  }
  return result;
}

}  // namespace

GpuTimings time_products_on_gpu(const PackedCheckpoint& packed, const std::vector<int>& rows,
                                double seconds) {
  require_gpu_kernels(ask_gpu_driver());
  return time_all(packed, rows, seconds);
}

}  // namespace prune::app
