// Random unstructured weights of one shape in device memory, in the neutral formats.
#pragma once

#include "bench/gpu/cublaslt.h"
#include "bench/gpu/fill.h"
#include "bench/gpu/weights24.h"

namespace prune::bench {

class RandomRows {
 public:
  RandomRows(const Shape& s, double density, cudaStream_t stream)
      : shape_(s),
        bits_(size_t(s.m) * (s.k / 8)),
        offsets_((size_t(s.m) + 1) * 8),
        offsets_32_((size_t(s.m) + 1) * 4) {
    fill_bits(bits_.get(), size_t(s.m) * (s.k / 8), density, 11, stream);
    auto* device = reinterpret_cast<int64_t*>(offsets_.get());
    count_bits(bits_.get(), s.m, s.k / 8, device, stream);
    std::vector<int64_t> offsets(size_t(s.m) + 1);
    cuda(cudaMemcpyAsync(offsets.data(), device, size_t(s.m) * 8, cudaMemcpyDeviceToHost, stream));
    cuda(cudaStreamSynchronize(stream));
    for (int64_t& at : offsets) {
      const int64_t count = at;
      at = count_;
      count_ += count;
    }
    const std::vector<int32_t> narrow(offsets.begin(), offsets.end());
    cuda(cudaMemcpy(device, offsets.data(), offsets.size() * 8, cudaMemcpyHostToDevice));
    cuda(cudaMemcpy(offsets_32_.get(), narrow.data(), narrow.size() * 4, cudaMemcpyHostToDevice));
  }
  const Shape& shape() const { return shape_; }
  int64_t count() const { return count_; }
  const uint8_t* bits() const { return bits_.get(); }
  const int64_t* offsets() const { return reinterpret_cast<const int64_t*>(offsets_.get()); }
  const int32_t* offsets_32() const { return reinterpret_cast<const int32_t*>(offsets_32_.get()); }
  void fill_values(void* to, cudaStream_t stream) const { fill_bf16(to, size_t(count_), 0.05f, 1, stream); }
  void list_columns(int32_t* to, cudaStream_t stream) const {
    list_bits(bits_.get(), shape_.m, shape_.k / 8, offsets(), to, stream);
  }

 private:
  Shape shape_;
  DeviceMemory bits_;
  DeviceMemory offsets_, offsets_32_;
  int64_t count_ = 0;
};

// Dense bfloat16 weights of one shape, rotated past the L2, with x and y of up to `tokens`; what the sparse
// products are compared with.
class DensePeer {
 public:
  DensePeer(const Shape& s, int tokens, size_t rotated, cudaStream_t stream)
      : shape_(s),
        weights_(size_t(s.m) * s.k * 2, rotated),
        x_(size_t(tokens) * s.k * 2),
        y_(size_t(tokens) * s.m * 2) {
    fill_bf16(weights_[0], size_t(s.m) * s.k, 0.05f, 1, stream);
    weights_.spread(stream);
    fill_bf16(x_.get(), size_t(tokens) * s.k, 1, 9, stream);
    cuda(cudaStreamSynchronize(stream));
  }
  void* x() const { return x_.get(); }
  void* y() const { return y_.get(); }
  // Microseconds of the fastest dense product.
  double time(int tokens, cudaStream_t stream) const {
    const DenseProduct product(shape_.m, tokens, shape_.k);
    return product.best_time(weights_, x_.get(), y_.get(),
                             std::max(tokens <= 64 ? 16 : 4, (tokens <= 64 ? 2 : 1) * weights_.count()),
                             tokens <= 64 ? 9 : 5, stream);
  }

 private:
  Shape shape_;
  Rotation weights_;
  DeviceMemory x_;
  DeviceMemory y_;
};

// Of the current device.
inline int multiprocessors() {
  int device = 0, count = 0;
  cuda(cudaGetDevice(&device));
  cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

// A measured product of unstructured bfloat16 weights.
struct TimedRows {
  const char* operation;  // "spmm_bitmask": what `prune pack` makes of such weights, and what is looked up
  const char* kernel;
  Shape shape;
  int tokens;
  int sparsity;  // percent
  bool overlapped;
  double us;
  double bytes;  // of the weights
  double dense_us;
};

// To the JSON file, and a part of a line.
inline void record(const TimedRows& t, JsonFile& json) {
  char name[160];
  std::snprintf(name, sizeof name, "%s/bf16/isa:sm80/m:%d/k:%d/n:%d/sparsity:%d/kernel:%s%s", t.operation,
                t.shape.m, t.shape.k, t.tokens, t.sparsity, t.kernel, t.overlapped ? "/overlap:1" : "");
  json.add({name,
            t.us,
            {{"speedup", t.dense_us / t.us},
             {"GB/s", t.bytes / t.us / 1e3},
             {"GFLOP/s", 2e-3 * t.shape.m * t.shape.k * t.tokens / t.us}}});
  std::printf("%s %7.2f us %5.2f TB/s %5.2fx", t.overlapped ? "   overlapped" : "", t.us,
              t.bytes / t.us / 1e6, t.dense_us / t.us);
}

}  // namespace prune::bench
