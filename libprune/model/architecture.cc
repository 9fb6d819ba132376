#include "libprune/model/architecture.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <span>

namespace prune {

// One family: the modules of a decoder block that hold a linear layer's weight, by the end of their name
// after the block's number.
// '#' stands for a number (an expert's).
struct Architecture::Family {
  std::string_view model_type;
  std::span<const std::string_view> linear_modules;
  Orientation orientation = Orientation::kOutIn;
};

namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kLlamaModules = {"self_attn.q_proj"sv, "self_attn.k_proj"sv, "self_attn.v_proj"sv,
                                      "self_attn.o_proj"sv, "mlp.gate_proj"sv,    "mlp.up_proj"sv,
                                      "mlp.down_proj"sv};
constexpr std::array kPhi3Modules = {"self_attn.qkv_proj"sv, "self_attn.o_proj"sv, "mlp.gate_up_proj"sv,
                                     "mlp.down_proj"sv};
constexpr std::array kOptModules = {"self_attn.q_proj"sv,
                                    "self_attn.k_proj"sv,
                                    "self_attn.v_proj"sv,
                                    "self_attn.out_proj"sv,
                                    "fc1"sv,
                                    "fc2"sv};
constexpr std::array kGpt2Modules = {"attn.c_attn"sv, "attn.c_proj"sv, "mlp.c_fc"sv, "mlp.c_proj"sv};
constexpr std::array kMixtralModules = {"self_attn.q_proj"sv,
                                        "self_attn.k_proj"sv,
                                        "self_attn.v_proj"sv,
                                        "self_attn.o_proj"sv,
                                        "block_sparse_moe.experts.#.w1"sv,
                                        "block_sparse_moe.experts.#.w2"sv,
                                        "block_sparse_moe.experts.#.w3"sv};

// A new family is one line here.
constexpr Architecture::Family kFamilies[] = {
    {"llama", kLlamaModules}, {"mistral", kLlamaModules},   {"qwen2", kLlamaModules},
    {"qwen3", kLlamaModules}, {"gemma", kLlamaModules},     {"phi3", kPhi3Modules},
    {"opt", kOptModules},     {"mixtral", kMixtralModules}, {"gpt2", kGpt2Modules, Orientation::kInOut},
};

size_t digits_at(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
  return end - at;
}

// "layers.12.mlp.up_proj" or "h.3.attn.c_attn" -> what follows the block's number; nothing outside a block.
// The prefix before `layers` varies between exports ("model.", "transformer.", "decoder.", none).
std::optional<std::string_view> inside_block(std::string_view module) {
  for (const std::string_view list : {"layers."sv, "h."sv}) {
    for (size_t at = module.find(list); at != std::string_view::npos; at = module.find(list, at + 1)) {
      if (at > 0 && module[at - 1] != '.') continue;
      const size_t number = at + list.size();
      const size_t digits = digits_at(module, number);
      if (digits > 0 && module.substr(number + digits).starts_with('.')) {
        return module.substr(number + digits + 1);
      }
    }
  }
  return std::nullopt;
}

bool matches_module(std::string_view name, std::string_view pattern) {
  size_t at = 0;
  for (size_t p = 0; p < pattern.size(); ++p) {
    if (pattern[p] == '#') {
      const size_t digits = digits_at(name, at);
      if (digits == 0) return false;
      at += digits;
    } else if (at >= name.size() || name[at++] != pattern[p]) {
      return false;
    }
  }
  return at == name.size();
}

std::optional<std::string_view> module_of_weight(std::string_view tensor) {
  constexpr std::string_view kSuffix = ".weight";
  if (!tensor.ends_with(kSuffix)) return std::nullopt;
  return tensor.substr(0, tensor.size() - kSuffix.size());
}

// GPT-2's names mean its Conv1D wherever they stand: nobody else stores a linear layer under them.
Orientation conventional_orientation(std::string_view module) {
  const auto inside = inside_block(module);
  const bool is_conv1d = inside && std::ranges::find(kGpt2Modules, *inside) != kGpt2Modules.end();
  return is_conv1d ? Orientation::kInOut : Orientation::kOutIn;
}

// Names that are no linear layer's, or one that is left alone by convention, in families that are not known.
bool is_conventionally_dense(std::string_view module) {
  constexpr std::array kWords = {"embed"sv, "lm_head"sv, "wte"sv,   "wpe"sv,
                                 "norm"sv,  "router"sv,  "score"sv, "classifier"sv};
  if (std::ranges::any_of(kWords, [&](std::string_view w) { return module.find(w) != module.npos; }))
    return true;
  // Routers of experts, and the heads of the original Llama and of T5.
  return module == "gate" || module.ends_with(".gate") || module.ends_with("_expert_gate") ||
         module == "output" || module == "shared";
}

}  // namespace

std::optional<std::string> unprunable_reason(const TensorInfo& tensor) {
  if (tensor.shape.size() != 2) return "not a matrix";
  if (tensor.shape[0] == 0 || tensor.shape[1] == 0) return "no elements";
  if (!is_prunable(tensor.dtype)) return "type " + std::string(name(tensor.dtype)) + " is copied";
  return std::nullopt;
}

Architecture::Architecture(const Checkpoint& checkpoint) {
  const nlohmann::json* config = checkpoint.config();
  if (config == nullptr || !config->contains("model_type") || !config->at("model_type").is_string()) return;
  model_type_ = config->at("model_type").get<std::string>();
  const auto found = std::ranges::find(kFamilies, model_type_, &Family::model_type);
  if (found != std::end(kFamilies)) family_ = found;
}

Architecture::Role Architecture::role(const TensorInfo& tensor) const {
  const auto module = module_of_weight(tensor.name);
  if (!module) return {.reason = "not a weight"};
  if (family_ == nullptr) return fallback_role(tensor);
  const auto inside = inside_block(*module);
  if (!inside) return {.reason = "outside the decoder blocks"};
  const auto names_it = [&](std::string_view pattern) { return matches_module(*inside, pattern); };
  if (std::ranges::none_of(family_->linear_modules, names_it)) return {.reason = "not a linear layer"};
  if (auto reason = unprunable_reason(tensor)) return {.reason = std::move(*reason)};
  return {true, family_->orientation, ""};
}

Architecture::Role Architecture::fallback_role(const TensorInfo& tensor) const {
  if (auto reason = unprunable_reason(tensor)) return {.reason = std::move(*reason)};
  if (is_conventionally_dense(*module_of_weight(tensor.name)))
    return {.reason = "not a linear layer by its name"};
  return {true, conventional_orientation(*module_of_weight(tensor.name)), ""};
}

Orientation Architecture::orientation(std::string_view tensor_name) const {
  const auto module = module_of_weight(tensor_name);
  if (!module) return Orientation::kOutIn;
  if (family_ == nullptr) return conventional_orientation(*module);
  return inside_block(*module) ? family_->orientation : Orientation::kOutIn;
}

std::vector<std::string_view> Architecture::known_model_types() {
  std::vector<std::string_view> types;
  for (const Family& family : kFamilies) types.push_back(family.model_type);
  return types;
}

}  // namespace prune
