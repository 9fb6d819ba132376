// The hyperparameters of a decoder-only transformer, read from config.json.
#pragma once

#include <cstdint>
#include <vector>

#include "libprune/io/checkpoint.h"
#include "libprune/model/decoder/family.h"

namespace prune {

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };

// How rotary angles depend on the position: angle_i(p) = p f_i for i < dimensions / 2.
struct RopeConfig {
  int64_t dimensions = 0;          // of each head that rotate, the first ones; even; 0: no rotation
  std::vector<float> frequencies;  // f_i, scaling included
};

struct DecoderConfig {
  const DecoderFamily* family = nullptr;
  int64_t vocabulary = 0;
  int64_t width = 0;  // of the hidden state
  int64_t inner = 0;  // of the feed-forward layer, of one expert
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_positions = 0;  // the longest sequence that the model was made for
  int64_t experts = 1;
  int64_t experts_per_token = 1;

  float norm_epsilon = 0;
  Activation activation = Activation::kSilu;
  RopeConfig rope;
  std::vector<int64_t> windows;  // of each layer: tokens attended to, itself included; 0: all before it
  std::vector<float> attention_scales;  // of each layer: what q k^T is multiplied with
  float embedding_scale = 1;
  bool ties_embedding = false;  // the head is the embedding
  bool norms_after = false;     // opt-350m: h = norm(h + f(h)) instead of h + f(norm(h))
  bool has_final_norm = true;
  bool attention_output_bias = false;
  bool qkv_bias = false;
  bool feed_forward_bias = false;

  bool has_experts() const { return !family->names.router.empty(); }
  int64_t qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
  int64_t context_width() const { return heads * head_dim; }
  int64_t expanded_width() const { return family->is_gated ? 2 * inner : inner; }
};

// Reads the configuration of a checkpoint with a config.json. Both spellings of rotary scaling are read:
// `rope_parameters`, and `rope_theta` with `rope_scaling`; of its types default, linear and llama3. Throws
// Error(kInput) naming what is missing, contradictory or not supported.
DecoderConfig read_decoder_config(const Checkpoint& checkpoint);
DecoderConfig parse_decoder_config(const nlohmann::json& config);

}  // namespace prune
