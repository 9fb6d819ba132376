#include "libprune/model/cuda/device_decoder.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>

#include "libprune/io/staging.h"
#include "libprune/io/text.h"
#include "libprune/model/cuda/attention.h"
#include "libprune/model/cuda/device_session.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune::gpu {
namespace {

// Takes the place of a product while a layer's norms, biases and names are read: its weights stay in the
// file.
class WeightInFile final : public LinearProduct {
 public:
  void run(const float*, int64_t, float*, int64_t, int64_t) const override {
    throw_runtime("a layer of the device was run on the processor");
  }
};

std::unique_ptr<LinearProduct> leave_in_file(const std::string&, Orientation, int64_t, int64_t,
                                             const std::vector<float>&) {
  return std::make_unique<WeightInFile>();
}

// The layers' biases side by side, zeros for one without; nothing where no layer has one.
DeviceArray<float> biases(std::span<const Linear> linears) {
  std::vector<float> all;
  const bool any = std::ranges::any_of(linears, [](const Linear& l) { return !l.bias.empty(); });
  for (const Linear& linear : linears) {
    if (!any) break;
    all.insert(all.end(), linear.bias.begin(), linear.bias.end());
    if (linear.bias.empty()) all.resize(all.size() + size_t(linear.out));
  }
  return DeviceArray<float>(all);
}

std::string in_megabytes(size_t bytes) { return std::to_string((bytes + 999999) / 1000000) + " MB"; }

}  // namespace

void require_device_memory(size_t bytes, const std::string& what) {
  size_t free = 0, total = 0;
  cuda(cudaMemGetInfo(&free, &total));
  if (bytes <= free) return;
  throw_runtime(what + " " + in_megabytes(bytes) + " of the CUDA device's memory, of which " +
                in_megabytes(free) + " of " + in_megabytes(total) + " are free");
}

void require_device_family(const DecoderConfig& config) {
  const DecoderFamily& family = *config.family;
  const auto refuse = [&](const std::string& fault) {
    throw_input("config.json: " + fault + ": not supported on CUDA devices; leave --device out");
  };
  if (family.norm != NormKind::kRms || family.positions != PositionKind::kRotary || !family.is_gated ||
      family.orientation != Orientation::kOutIn || config.has_experts() || config.norms_after ||
      !config.has_final_norm)
    refuse("model_type " + quote_name(family.model_type));
  if (config.head_dim % 8 != 0 || config.head_dim > kMostAttentionDim) {
    refuse("heads of " + std::to_string(config.head_dim) + " dimensions (expected a multiple of 8 up to " +
           std::to_string(kMostAttentionDim) + ")");
  }
  const auto refuse_width = [&](const char* key, int64_t width) {
    refuse(std::string(key) + " " + std::to_string(width) + " (expected a multiple of 8)");
  };
  if (config.width % 8 != 0) refuse_width("a hidden state of width", config.width);
  if (config.inner % 8 != 0) refuse_width("a feed-forward layer of width", config.inner);
  // The rows of any weight, layers that are multiplied as one included; kernels count them in int.
  const int64_t most = std::max(
      {config.width, config.vocabulary, config.qkv_width(), config.context_width(), config.expanded_width()});
  if (most > std::numeric_limits<int32_t>::max() - 8) refuse(std::to_string(most) + " rows of a weight");
}

DeviceDecoder::DeviceDecoder(const Checkpoint& checkpoint, const Progress& progress,
                             const DeviceOptions& options)
    : decoder_(checkpoint) {
  const auto start = std::chrono::steady_clock::now();
  require_device_family(config());
  // What may be refused comes before anything is on the device.
  const std::vector<DecoderLayer> layers = read_layers();
  const Norm final_norm = decoder_.load_final_norm();
  const DeviceTraits device = current_traits();
  require_weights(layers, device);
  require_memory();
  context_ = std::make_unique<DeviceContext>(device);
  ProgressCounter counter(progress, uint64_t(config().layers));
  for (const DecoderLayer& layer : layers) {
    check_interrupted();
    load_layer(layer);
    counter.add(1, decoder_.layer_name(layer.index));
  }
  final_norm_ = DeviceArray<float>(final_norm.weight);
  embedding_ = load_table(decoder_.embedding_name());
  if (decoder_.head_name() != decoder_.embedding_name()) head_ = load_table(decoder_.head_name());
  context_->dense.add(int(logit_stride()), int(config().width),
                      head_.get() != nullptr ? head_.get() : embedding_.get());
  ++prepared_.dense;
  ++prepared_.kernels["cuBLASLt"];
  ++prepared_.prompt_kernels["cuBLASLt"];
  if (options.keeps_dense) keep_dense();
  cuda(cudaDeviceSynchronize());
  seconds_ = seconds_since(start);
}

// Their norms, biases and the names of their weights.
std::vector<DecoderLayer> DeviceDecoder::read_layers() const {
  std::vector<DecoderLayer> layers;
  for (int64_t i = 0; i < config().layers; ++i) layers.push_back(decoder_.load_layer(i, leave_in_file));
  return layers;
}

void DeviceDecoder::require_weights(std::span<const DecoderLayer> layers, const DeviceTraits& device) const {
  for (const std::string& table : {decoder_.embedding_name(), decoder_.head_name()})
    stored_bf16(decoder_.tensors(), table, config().vocabulary, config().width);
  for (const DecoderLayer& layer : layers) {
    for (const Linear* linear : layer.linears())
      require_device_weights(decoder_.tensors(), {linear, 1}, device);
  }
}

// As the weights lie in the file, and a tenth more for layouts that pad; blocks are held for few tokens and
// for many, unstructured weights take up to a fifth more, and the largest of them a dense matrix to be
// expanded to.
void DeviceDecoder::require_memory() const {
  uint64_t bytes = 0, largest = 0;
  for (const SafetensorsFile& shard : decoder_.checkpoint().shards()) bytes += shard.map().bytes().size();
  if (const PackedCheckpoint* packed = decoder_.tensors().packed()) {
    for (const PackedWeight& weight : packed->weights()) {
      const bool is_bsr = weight.format == PackedFormat::kBsr, is_nm = weight.format == PackedFormat::kNm;
      if (!is_nm) bytes += is_bsr ? packed->bytes(weight) : packed->bytes(weight) / 5;
      if (!is_nm && !is_bsr) largest = std::max(largest, 3 * weight.dense_bytes());  // as many may be joined
    }
  }
  constexpr size_t kWorkspaces = size_t(256) << 20;
  require_device_memory(size_t(bytes + bytes / 10 + largest) + kWorkspaces, "the model's weights take");
}

void DeviceDecoder::load_layer(const DecoderLayer& from) {
  const auto linear = [&](std::span<const Linear> linears) {
    return DeviceLinear(*context_, decoder_.tensors(), linears, prepared_);
  };
  const FeedForward& feed_forward = from.experts.front();
  DeviceLayer layer;
  layer.attention_norm = DeviceArray<float>(from.attention_norm.weight);
  layer.q_norm = DeviceArray<float>(from.q_norm.weight);
  layer.k_norm = DeviceArray<float>(from.k_norm.weight);
  layer.feed_forward_norm = DeviceArray<float>(from.feed_forward_norm.weight);
  layer.qkv = linear(from.qkv);
  layer.output = linear({&from.output, 1});
  layer.expanding = linear(feed_forward.expanding);
  layer.contracting = linear({&feed_forward.contracting, 1});
  layer.qkv_bias = biases(from.qkv);
  layer.output_bias = biases({&from.output, 1});
  layer.expanding_bias = biases(feed_forward.expanding);
  layer.contracting_bias = biases({&feed_forward.contracting, 1});
  layer.scale = from.attention_shape().scale;
  layer.window = int(from.attention_shape().window);
  layers_.push_back(std::move(layer));
}

// The other half is for caches and activations.
void DeviceDecoder::keep_dense() {
  const auto linears = [](DeviceLayer& l) {
    return std::array{&l.qkv, &l.output, &l.expanding, &l.contracting};
  };
  size_t bytes = 0, free = 0, total = 0;
  for (DeviceLayer& layer : layers_) {
    for (const DeviceLinear* linear : linears(layer)) bytes += linear->dense_bytes();
  }
  cuda(cudaMemGetInfo(&free, &total));
  if (bytes == 0 || bytes > free / 2) return;
  keeps_dense_ = true;
  for (DeviceLayer& layer : layers_) {
    for (DeviceLinear* linear : linears(layer)) linear->keep_dense(prepared_);
  }
}

DeviceArray<Bf16> DeviceDecoder::load_table(const std::string& name) {
  DeviceArray<Bf16> table(size_t(logit_stride() * config().width));
  const auto bytes = stored_bf16(decoder_.tensors(), name, config().vocabulary, config().width);
  cuda(cudaMemset(table.get(), 0, table.bytes()));
  cuda(cudaMemcpy(table.get(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  prepared_.bytes += table.bytes();
  return table;
}

void DeviceDecoder::project_to_vocabulary(const Bf16* x, int n, float* logits) const {
  const Bf16* head = head_.get() != nullptr ? head_.get() : embedding_.get();
  context_->dense.run(int(logit_stride()), int(config().width), head, x, n, logits, logit_stride(),
                      CUDA_R_32F);
}

std::unique_ptr<RunningSequences> DeviceDecoder::start(const std::vector<int64_t>& lengths,
                                                       int64_t chunk) const {
  auto session = std::make_unique<DeviceSession>(*this, lengths, chunk);
  session->prepare_decoding();
  return session;
}

}  // namespace prune::gpu
