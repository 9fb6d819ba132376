// What sets one family of decoder-only transformers apart from another, as data.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "libprune/model/architecture.h"

namespace prune {

enum class NormKind { kRms, kLayer };
enum class PositionKind { kRotary, kLearned };

// Which linear layers of a decoder layer add a bias.
enum class BiasRule {
  kNone,
  kQkv,       // q, k and v
  kAll,       // every one
  kByConfig,  // attention and feed-forward each as `attention_bias`, `mlp_bias` or `enable_bias` say
};

// The keys of config.json. Those that are empty have the default given beside them in config.cc.
struct ConfigKeys {
  std::string_view width = "hidden_size";
  std::string_view layers = "num_hidden_layers";
  std::string_view heads = "num_attention_heads";
  std::string_view inner = "intermediate_size";
  std::string_view positions = "max_position_embeddings";
  std::string_view norm_epsilon = "rms_norm_eps";
  std::string_view activation = "hidden_act";
};

// Names of modules: those outside the layers follow the checkpoint's prefix, those of a layer follow
// "<prefix><layers>.<number>.". An expert's follow "<experts>.<number>." inside it.
struct ModuleNames {
  std::span<const std::string_view> prefixes;  // those that exports of this family use, tried in order
  std::string_view embedding = "embed_tokens";
  std::string_view positions = {};  // of learned positions
  std::string_view final_norm = "norm";
  std::string_view layers = "layers";

  std::string_view attention_norm = "input_layernorm";
  std::span<const std::string_view> qkv;      // one fused module or three, outputs in this order
  std::string_view q_norm = {}, k_norm = {};  // per head; empty: none
  std::string_view output = "self_attn.o_proj";

  std::string_view feed_forward_norm = "post_attention_layernorm";
  std::string_view router = {}, experts = {};   // empty: no experts
  std::span<const std::string_view> expanding;  // gate and up, fused or not, or the one before the activation
  std::string_view contracting = "mlp.down_proj";
};

struct DecoderFamily {
  std::string_view model_type;
  ConfigKeys keys = {};
  ModuleNames names;
  Orientation orientation = Orientation::kOutIn;
  NormKind norm = NormKind::kRms;
  float norm_weight_offset = 0;  // gemma stores w - 1
  float default_norm_epsilon = 1e-6F;
  PositionKind positions = PositionKind::kRotary;
  int position_offset = 0;  // row of the table for the first token
  double default_rope_theta = 10000;
  bool is_gated = true;  // down(act(gate(x)) * up(x)), else down(act(up(x)))
  BiasRule bias = BiasRule::kNone;
  bool ties_by_default = false;   // the head is the embedding
  bool scales_embedding = false;  // by sqrt(width)
  bool gelu_is_tanh = false;      // whichever GeLU the config names
  bool switches_windows = false;  // `use_sliding_window` has to ask for them
  bool derives_head_dim = false;  // always width / heads, whatever the config says
};

// Null for a model_type that the forward pass does not know.
const DecoderFamily* find_decoder_family(std::string_view model_type);
std::vector<std::string_view> decoder_model_types();

}  // namespace prune
