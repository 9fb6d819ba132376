// A whole decoder in the memory of a CUDA device, ready to run. Weights and the activations between kernels
// are bfloat16; the hidden state, norms, softmax and logits are single precision, as are the sums of all
// products.
#pragma once

#include <memory>
#include <vector>

#include "libprune/model/cuda/device_linear.h"
#include "libprune/model/decoder/decoder.h"
#include "libprune/model/progress.h"
#include "libprune/model/runtime/ready_model.h"

namespace prune::gpu {

// Norms and biases in single precision; a bias that does not exist is null.
struct DeviceLayer {
  DeviceArray<float> attention_norm, q_norm, k_norm, feed_forward_norm;
  DeviceLinear qkv, output, expanding, contracting;
  DeviceArray<float> qkv_bias, output_bias, expanding_bias, contracting_bias;
  float scale = 1;  // of attention
  int window = 0;   // 0: none
};

// Families with rotary positions, RMS norms and a gated feed-forward layer: llama, mistral, qwen2, qwen3,
// phi3, gemma. Throws Error(kInput) for others, and for widths that the kernels don't take.
void require_device_family(const DecoderConfig& config);

struct DeviceOptions {
  // Unstructured weights, which no kernel multiplies by many tokens, are kept dense as well where that takes
  // no more than half of the memory that is free: prompts and batches are then never slower than dense.
  bool keeps_dense = true;
};

// Runs on the current device, on a stream of its own. Sequences of one model run one after another.
class DeviceDecoder final : public ReadyModel {
 public:
  // Throws what Decoder throws; Error(kInput) for a family, type or format that does not run on the device,
  // Error(kRuntime) before anything is loaded where the weights don't fit its free memory; Interrupted.
  explicit DeviceDecoder(const Checkpoint& checkpoint, const Progress& progress = {},
                         const DeviceOptions& options = {});

  const DecoderConfig& config() const override { return decoder_.config(); }
  const PreparedWeights& prepared() const override { return prepared_; }
  // Whether DeviceOptions::keeps_dense took memory.
  bool keeps_dense() const { return keeps_dense_; }
  double seconds() const override { return seconds_; }
  std::unique_ptr<RunningSequences> start(const std::vector<int64_t>& lengths, int64_t chunk) const override;

  const Decoder& decoder() const { return decoder_; }
  DeviceContext& context() const { return *context_; }
  const DeviceLayer& layer(size_t index) const { return layers_[index]; }
  const Bf16* embedding() const { return embedding_.get(); }
  const float* final_norm() const { return final_norm_.get(); }
  // From row to row of logits: the vocabulary up to a multiple of 8, as cuBLASLt's fast algorithms ask for.
  int64_t logit_stride() const { return (config().vocabulary + 7) / 8 * 8; }
  // logits [n, vocabulary], rows logit_stride() apart, = x [n, width] head^T, queued. What lies between the
  // rows is written too.
  void project_to_vocabulary(const Bf16* x, int n, float* logits) const;

 private:
  std::vector<DecoderLayer> read_layers() const;
  void require_weights(std::span<const DecoderLayer> layers, const DeviceTraits& device) const;
  void require_memory() const;
  void load_layer(const DecoderLayer& from);
  void keep_dense();
  DeviceArray<Bf16> load_table(const std::string& name);

  Decoder decoder_;
  bool keeps_dense_ = false;
  std::unique_ptr<DeviceContext> context_;
  std::vector<DeviceLayer> layers_;
  DeviceArray<Bf16> embedding_, head_;  // [logit_stride(), width]; no head where it is the embedding
  DeviceArray<float> final_norm_;
  PreparedWeights prepared_;
  double seconds_ = 0;
};

// Throws Error(kRuntime) where the current device has less free memory; `what` needs it.
void require_device_memory(size_t bytes, const std::string& what);

}  // namespace prune::gpu
