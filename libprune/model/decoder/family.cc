#include "libprune/model/decoder/family.h"

#include <algorithm>
#include <array>

namespace prune {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kModelPrefix = {"model."sv, ""sv};
constexpr std::array kGpt2Prefix = {"transformer."sv, ""sv};
constexpr std::array kOptPrefix = {"model.decoder."sv, "decoder."sv};

constexpr std::array kSeparateQkv = {"self_attn.q_proj"sv, "self_attn.k_proj"sv, "self_attn.v_proj"sv};
constexpr std::array kFusedQkv = {"self_attn.qkv_proj"sv};
constexpr std::array kGpt2Qkv = {"attn.c_attn"sv};

constexpr std::array kGateUp = {"mlp.gate_proj"sv, "mlp.up_proj"sv};
constexpr std::array kFusedGateUp = {"mlp.gate_up_proj"sv};
constexpr std::array kGpt2Expanding = {"mlp.c_fc"sv};
constexpr std::array kOptExpanding = {"fc1"sv};
constexpr std::array kExpertGateUp = {"w1"sv, "w3"sv};

constexpr ModuleNames kLlamaNames = {.prefixes = kModelPrefix, .qkv = kSeparateQkv, .expanding = kGateUp};

constexpr ModuleNames with_qk_norm(ModuleNames names) {
  names.q_norm = "self_attn.q_norm";
  names.k_norm = "self_attn.k_norm";
  return names;
}

constexpr ModuleNames kPhi3Names = {.prefixes = kModelPrefix, .qkv = kFusedQkv, .expanding = kFusedGateUp};

constexpr ModuleNames kMixtralNames = {.prefixes = kModelPrefix,
                                       .qkv = kSeparateQkv,
                                       .router = "block_sparse_moe.gate",
                                       .experts = "block_sparse_moe.experts",
                                       .expanding = kExpertGateUp,
                                       .contracting = "w2"};

constexpr ModuleNames kGpt2Names = {.prefixes = kGpt2Prefix,
                                    .embedding = "wte",
                                    .positions = "wpe",
                                    .final_norm = "ln_f",
                                    .layers = "h",
                                    .attention_norm = "ln_1",
                                    .qkv = kGpt2Qkv,
                                    .output = "attn.c_proj",
                                    .feed_forward_norm = "ln_2",
                                    .expanding = kGpt2Expanding,
                                    .contracting = "mlp.c_proj"};
constexpr ConfigKeys kGpt2Keys = {.width = "n_embd",
                                  .layers = "n_layer",
                                  .heads = "n_head",
                                  .inner = "n_inner",
                                  .positions = "n_positions",
                                  .norm_epsilon = "layer_norm_epsilon",
                                  .activation = "activation_function"};

constexpr ModuleNames kOptNames = {.prefixes = kOptPrefix,
                                   .positions = "embed_positions",
                                   .final_norm = "final_layer_norm",
                                   .attention_norm = "self_attn_layer_norm",
                                   .qkv = kSeparateQkv,
                                   .output = "self_attn.out_proj",
                                   .feed_forward_norm = "final_layer_norm",
                                   .expanding = kOptExpanding,
                                   .contracting = "fc2"};
constexpr ConfigKeys kOptKeys = {.inner = "ffn_dim", .norm_epsilon = "", .activation = "activation_function"};

// A new family is one entry here. Sources: the models' files in github.com/huggingface/transformers.
constexpr DecoderFamily kFamilies[] = {
    {.model_type = "llama", .names = kLlamaNames, .bias = BiasRule::kByConfig},
    {.model_type = "mistral", .names = kLlamaNames},
    {.model_type = "qwen2", .names = kLlamaNames, .bias = BiasRule::kQkv, .switches_windows = true},
    {.model_type = "qwen3",
     .names = with_qk_norm(kLlamaNames),
     .bias = BiasRule::kByConfig,
     .switches_windows = true},
    {.model_type = "phi3", .names = kPhi3Names, .default_norm_epsilon = 1e-5F},
    {.model_type = "gemma",
     .names = kLlamaNames,
     .norm_weight_offset = 1,
     .bias = BiasRule::kByConfig,
     .ties_by_default = true,
     .scales_embedding = true,
     .gelu_is_tanh = true},
    {.model_type = "mixtral",
     .names = kMixtralNames,
     .default_norm_epsilon = 1e-5F,
     .default_rope_theta = 1e6},
    {.model_type = "gpt2",
     .keys = kGpt2Keys,
     .names = kGpt2Names,
     .orientation = Orientation::kInOut,
     .norm = NormKind::kLayer,
     .default_norm_epsilon = 1e-5F,
     .positions = PositionKind::kLearned,
     .is_gated = false,
     .bias = BiasRule::kAll,
     .ties_by_default = true,
     .derives_head_dim = true},
    {.model_type = "opt",
     .keys = kOptKeys,
     .names = kOptNames,
     .norm = NormKind::kLayer,
     .default_norm_epsilon = 1e-5F,
     .positions = PositionKind::kLearned,
     .position_offset = 2,
     .is_gated = false,
     .bias = BiasRule::kByConfig,
     .ties_by_default = true,
     .derives_head_dim = true},
};

}  // namespace

const DecoderFamily* find_decoder_family(std::string_view model_type) {
  const auto found = std::ranges::find(kFamilies, model_type, &DecoderFamily::model_type);
  return found == std::end(kFamilies) ? nullptr : found;
}

std::vector<std::string_view> decoder_model_types() {
  std::vector<std::string_view> types;
  for (const DecoderFamily& family : kFamilies) types.push_back(family.model_type);
  return types;
}

}  // namespace prune
