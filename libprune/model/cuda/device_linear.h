// Linear layers on the GPU: dense ones by cuBLASLt, packed ones by the sparse kernels.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "libprune/model/cuda/dense_products.h"
#include "libprune/model/cuda/packed_weight.h"
#include "libprune/model/decoder/linear.h"
#include "libprune/model/decoder/tensor_reader.h"
#include "libprune/model/runtime/linear_products.h"

namespace prune::gpu {

// What a model's parts share on the device.
struct DeviceContext {
  explicit DeviceContext(const DeviceTraits& device) : traits(device), dense(stream.get()) {}

  // At least so much, for the time between two calls; it must not be captured before it has its size.
  uint8_t* scratch(size_t bytes) {
    if (!scratch_ || scratch_->bytes() < bytes) {
      stream.wait();
      scratch_.reset();
      scratch_ = std::make_unique<DeviceMemory>(bytes);
    }
    return scratch_->get();
  }

  // A packed weight and the dense matrix that is kept beside it.
  struct Twins {
    const DevicePackedWeight* packed;
    const Bf16* dense;
  };

  DeviceTraits traits;
  Stream stream;
  DenseProducts dense;
  std::map<std::pair<int, int>, std::vector<Twins>> twins;    // by outputs and inputs
  std::map<std::tuple<int, int, int>, bool> dense_is_faster;  // outputs, inputs and tokens: once measured

 private:
  std::unique_ptr<DeviceMemory> scratch_;
};

// Up to so many tokens the kernels for few are faster than those for many (docs/performance-gpu.md).
inline constexpr int kFewTokens = 16;
// From so many on it is faster to expand unstructured weights each time and multiply dense than to take
// tokens in parts.
inline constexpr int kExpandFrom = 33;

// Layers that read one X, their outputs side by side. Dense weights, and packed ones of 2:4, are multiplied
// as one matrix. Biases are not added. Keeps a reference to the context.
class DeviceLinear {
 public:
  DeviceLinear() = default;
  // Of each of `linears`, only names and sizes are looked at; weights come from the file. Throws what
  // require_device_weights() throws, and Error(kInput) naming a packed weight that is damaged.
  DeviceLinear(DeviceContext& context, const TensorReader& tensors, std::span<const Linear> linears,
               PreparedWeights& prepared);

  int out() const { return out_; }
  // What keep_dense() takes of the device's memory.
  size_t dense_bytes() const;
  // Expands, once, the weights that many tokens are multiplied with as dense ones. A few then take the faster
  // of both, which is measured for each shape and number of tokens.
  void keep_dense(PreparedWeights& prepared);
  // y [n, out()] = x [n, in] W^T, queued. The first call with so many tokens must not be captured.
  void run(const Bf16* x, int n, Bf16* y) const;

 private:
  struct Piece {
    int column = 0, out = 0;
    DeviceArray<Bf16> dense = {};  // also beside packed, where it is kept
    std::unique_ptr<DevicePackedWeight> packed = {};
    int64_t layers = 1;
  };
  // How a packed piece takes n tokens: so many at once.
  struct Way {
    DeviceProduct product;
    int at_once = 0;
  };
  static Way way_of(const DevicePackedWeight& weight, int n);
  void add_dense(const TensorReader& tensors, std::span<const Linear> linears, PreparedWeights& prepared);
  void add_packed(const PackedCheckpoint& packed, std::span<const PackedWeight* const> weights,
                  PreparedWeights& prepared);
  void run_packed(const DevicePackedWeight& weight, const Bf16* x, int n, Bf16* y) const;
  void run_expanded(const Piece& piece, const Bf16* x, int n, Bf16* y) const;
  bool takes_dense(const Piece& piece, const Bf16* x, int n, Bf16* y) const;
  bool measure_dense(const Piece& piece, const Bf16* x, int n, Bf16* y) const;

  DeviceContext* context_ = nullptr;
  int in_ = 0, out_ = 0;
  std::vector<Piece> pieces_;
  mutable std::map<std::pair<const DevicePackedWeight*, int>, Way> ways_;
};

// Throws Error(kInput) naming a weight that is missing, or of a type or format that no kernel takes. Looks at
// names, types and sizes only.
void require_device_weights(const TensorReader& tensors, std::span<const Linear> linears,
                            const DeviceTraits& device);

// The weight [rows, cols] as it lies in the file, which must be bfloat16: Error(kInput) otherwise.
std::span<const std::byte> stored_bf16(const TensorReader& tensors, const std::string& name, int64_t rows,
                                       int64_t cols);

}  // namespace prune::gpu
