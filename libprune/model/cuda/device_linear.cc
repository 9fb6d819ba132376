#include "libprune/model/cuda/device_linear.h"

#include <algorithm>

#include "libprune/io/text.h"
#include "libprune/model/cuda/replay_time.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune::gpu {
namespace {

using kernels::cuda::Element;
using kernels::cuda::ProductCall;

constexpr const char* kExpandedEachTime = "cuBLASLt, expanded each time";
constexpr const char* kExpandedOnce = "cuBLASLt, expanded once";

// How many of the first are packed and can be multiplied as one.
size_t joined(std::span<const PackedWeight* const> weights) {
  size_t count = 1;
  while (count < weights.size() && weights[count] != nullptr && joins(*weights[count - 1], *weights[count]))
    ++count;
  return count;
}

void require_bf16(const std::string& weight, DType dtype) {
  if (dtype == DType::kBF16) return;
  throw_input(quote_name(weight) + " is " + std::string(name(dtype)) +
              ": on CUDA devices models of BF16 weights run; leave --device out");
}

void require_kernel(const PackedWeight& weight, const DeviceTraits& device) {
  require_bf16(weight.tensor, weight.dtype);
  if (takes(weight, device)) return;
  throw_input(quote_name(weight.tensor) + " is packed as " + format_in_words(weight) + ", [" +
              std::to_string(weight.out) + ", " + std::to_string(weight.in) +
              "]: no kernel of this CUDA device takes that; 'prune unpack' the model, or leave --device out");
}

}  // namespace

void require_device_weights(const TensorReader& tensors, std::span<const Linear> linears,
                            const DeviceTraits& device) {
  for (const Linear& linear : linears) {
    if (const PackedWeight* packed = tensors.packed_weight(linear.weight_name, linear.out, linear.in)) {
      require_kernel(*packed, device);
    } else {
      stored_bf16(tensors, linear.weight_name, linear.out, linear.in);
    }
  }
}

std::span<const std::byte> stored_bf16(const TensorReader& tensors, const std::string& name, int64_t rows,
                                       int64_t cols) {
  const StoredMatrix stored = tensors.stored(name, rows, cols);
  require_bf16(name, stored.dtype);
  return {stored.data, size_t(rows * cols) * 2};
}

DeviceLinear::DeviceLinear(DeviceContext& context, const TensorReader& tensors,
                           std::span<const Linear> linears, PreparedWeights& prepared)
    : context_(&context), in_(int(linears.front().in)) {
  require_device_weights(tensors, linears, context.traits);
  std::vector<const PackedWeight*> packed;
  for (const Linear& linear : linears)
    packed.push_back(tensors.packed_weight(linear.weight_name, linear.out, linear.in));
  for (size_t i = 0; i < linears.size();) {
    size_t count = 1;
    if (packed[i] != nullptr) {
      count = joined(std::span(packed).subspan(i));
      add_packed(*tensors.packed(), std::span(packed).subspan(i, count), prepared);
    } else {
      while (i + count < linears.size() && packed[i + count] == nullptr) ++count;
      add_dense(tensors, linears.subspan(i, count), prepared);
    }
    i += count;
  }
  for (const Piece& piece : pieces_) {
    if (piece.dense.get() != nullptr) context.dense.add(piece.out, in_, piece.dense.get());
  }
}

void DeviceLinear::add_dense(const TensorReader& tensors, std::span<const Linear> linears,
                             PreparedWeights& prepared) {
  Piece piece{.column = out_};
  for (const Linear& linear : linears) piece.out += int(linear.out);
  piece.dense = DeviceArray<Bf16>(size_t(piece.out) * size_t(in_));
  Bf16* to = piece.dense.get();
  for (const Linear& linear : linears) {
    const auto bytes = stored_bf16(tensors, linear.weight_name, linear.out, linear.in);
    cuda(cudaMemcpy(to, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    to += linear.out * linear.in;
  }
  const auto count = int64_t(linears.size());
  prepared.dense += count;
  prepared.bytes += piece.dense.bytes();
  prepared.kernels["cuBLASLt"] += count;
  prepared.prompt_kernels["cuBLASLt"] += count;
  out_ += piece.out;
  pieces_.push_back(std::move(piece));
}

void DeviceLinear::add_packed(const PackedCheckpoint& packed, std::span<const PackedWeight* const> weights,
                              PreparedWeights& prepared) {
  Piece piece{.column = out_, .layers = int64_t(weights.size())};
  for (const PackedWeight* weight : weights) {
    packed.check(*weight);
    piece.out += int(weight->out);
  }
  piece.packed = weights.size() > 1 ? upload_joined(packed, weights, context_->traits)
                                    : upload(packed, *weights.front(), context_->traits, Keep::kOneWay);
  prepared.packed += piece.layers;
  prepared.bytes += piece.packed->bytes();
  prepared.kernels[way_of(*piece.packed, 1).product.kernel] += piece.layers;
  const std::string prompt_kernel =
      piece.packed->expands() ? kExpandedEachTime : way_of(*piece.packed, int(kPromptRows)).product.kernel;
  prepared.prompt_kernels[prompt_kernel] += piece.layers;
  out_ += piece.out;
  pieces_.push_back(std::move(piece));
}

// Where no kernel takes so many tokens they go in parts.
DeviceLinear::Way DeviceLinear::way_of(const DevicePackedWeight& weight, int n) {
  std::vector<DeviceProduct> products = weight.products(n);
  int at_once = n;
  for (int most = 64; products.empty() && most >= 1; most /= 2) {
    if (most >= n) continue;
    products = weight.products(most);
    at_once = most;
  }
  return {std::move(at_once <= kFewTokens ? products.front() : products.back()), at_once};
}

size_t DeviceLinear::dense_bytes() const {
  size_t sum = 0;
  for (const Piece& piece : pieces_) {
    if (piece.packed && piece.packed->expands()) sum += size_t(piece.out) * size_t(in_) * sizeof(Bf16);
  }
  return sum;
}

void DeviceLinear::keep_dense(PreparedWeights& prepared) {
  for (Piece& piece : pieces_) {
    if (!piece.packed || !piece.packed->expands()) continue;
    piece.dense = DeviceArray<Bf16>(size_t(piece.out) * size_t(in_));
    piece.packed->expand(piece.dense.get(), context_->stream.get());
    context_->dense.add(piece.out, in_, piece.dense.get());
    context_->twins[{piece.out, in_}].push_back({piece.packed.get(), piece.dense.get()});
    prepared.bytes += piece.dense.bytes();
    prepared.prompt_kernels[kExpandedOnce] += piece.layers;
    if ((prepared.prompt_kernels[kExpandedEachTime] -= piece.layers) == 0)
      prepared.prompt_kernels.erase(kExpandedEachTime);
  }
}

bool DeviceLinear::takes_dense(const Piece& piece, const Bf16* x, int n, Bf16* y) const {
  if (!piece.packed) return true;
  if (piece.dense.get() == nullptr) return false;
  if (n > kFewTokens || context_->dense.takes_first()) return n > kFewTokens;
  const std::tuple key(piece.out, in_, n);
  const auto known = context_->dense_is_faster.find(key);
  if (known != context_->dense_is_faster.end()) return known->second;
  return context_->dense_is_faster[key] = measure_dense(piece, x, n, y);
}

bool DeviceLinear::measure_dense(const Piece& piece, const Bf16* x, int n, Bf16* y) const {
  const std::vector<DeviceContext::Twins>& twins = context_->twins.at({piece.out, in_});
  const auto time = [&](const auto& multiply) {
    return time_of_all(context_->stream.get(), twins, multiply);
  };
  const double dense = time([&](const DeviceContext::Twins& twin) {
    context_->dense.run(piece.out, in_, twin.dense, x, n, y, out_, CUDA_R_16BF);
  });
  return dense < time([&](const DeviceContext::Twins& twin) { run_packed(*twin.packed, x, n, y); });
}

void DeviceLinear::run(const Bf16* x, int n, Bf16* y) const {
  for (const Piece& piece : pieces_) {
    Bf16* to = y + piece.column;
    if (takes_dense(piece, x, n, to)) {
      context_->dense.run(piece.out, in_, piece.dense.get(), x, n, to, out_, CUDA_R_16BF);
    } else if (n >= kExpandFrom && piece.packed->expands()) {
      run_expanded(piece, x, n, to);
    } else {
      run_packed(*piece.packed, x, n, to);
    }
  }
}

void DeviceLinear::run_expanded(const Piece& piece, const Bf16* x, int n, Bf16* y) const {
  uint8_t* dense = context_->scratch(size_t(piece.out) * size_t(in_) * 2);
  piece.packed->expand(dense, context_->stream.get());
  context_->dense.run(piece.out, in_, reinterpret_cast<const Bf16*>(dense), x, n, y, out_, CUDA_R_16BF);
}

void DeviceLinear::run_packed(const DevicePackedWeight& weight, const Bf16* x, int n, Bf16* y) const {
  const auto way_for = [&](int tokens) -> const Way& {
    const auto place = ways_.find({&weight, tokens});
    if (place != ways_.end()) return place->second;
    return ways_.emplace(std::pair(&weight, tokens), way_of(weight, tokens)).first->second;
  };
  for (int done = 0; done < n;) {
    const Way& way = way_for(n - done);
    const ProductCall call{.element = Element::kBf16,
                           .tokens = way.at_once,
                           .x = x + int64_t(done) * in_,
                           .x_stride = in_,
                           .y = y + int64_t(done) * out_,
                           .y_stride = out_,
                           .overlap_previous = context_->traits.hopper,
                           .stream = context_->stream.get()};
    must(way.product.run(call));
    done += way.at_once;
  }
}

}  // namespace prune::gpu
