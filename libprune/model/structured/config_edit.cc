#include "libprune/model/structured/config_edit.h"

#include <algorithm>
#include <optional>

#include <prune/error.h>

#include "libprune/io/json.h"
#include "libprune/io/json_edit.h"

namespace prune {
namespace {

const nlohmann::json* find(const nlohmann::json& config, std::string_view key) {
  const auto found = config.find(std::string(key));
  return found == config.end() || found->is_null() ? nullptr : &*found;
}

// Lists with a value for each layer, whichever a family has.
void cut_lists(const nlohmann::json& config, const DecoderConfig& dense, const Cut& cut, JsonEdits& edits) {
  for (const auto& [key, value] : config.items()) {
    const bool is_of_layers = key == "layer_types" || key == "attention_layers";
    if (!is_of_layers || !value.is_array() || int64_t(value.size()) != dense.layers) continue;
    nlohmann::json kept = nlohmann::json::array();
    for (const LayerCut& layer : cut.layers) kept.push_back(value[size_t(layer.layer)]);
    edits.emplace_back(key, kept);
  }
  // From max_window_layers on layers have windows, from a default on where it isn't given: as many before it
  // stay as do of those.
  const nlohmann::json* given = find(config, "max_window_layers");
  std::optional<int64_t> first;
  if (given != nullptr && given->is_number_integer()) {
    first = given->get<int64_t>();
  } else if (dense.family->switches_windows && find(config, "layer_types") == nullptr) {
    first = std::ranges::find_if(dense.windows, [](int64_t w) { return w > 0; }) - dense.windows.begin();
  }
  if (!first || *first >= dense.layers) return;
  edits.emplace_back("max_window_layers",
                     std::ranges::count_if(cut.layers, [&](const LayerCut& l) { return l.layer < *first; }));
}

JsonEdits edits_of(const nlohmann::json& config, const DecoderConfig& dense, const DecoderConfig& smaller,
                   const Cut& cut) {
  const ConfigKeys& keys = dense.family->keys;
  JsonEdits edits;
  const auto change = [&](std::string_view key, int64_t before, int64_t after) {
    if (before != after) edits.emplace_back(std::string(key), after);
  };
  change(keys.inner, dense.inner, smaller.inner);
  change(keys.heads, dense.heads, smaller.heads);
  if (find(config, "num_key_value_heads") != nullptr)
    change("num_key_value_heads", dense.kv_heads, smaller.kv_heads);
  if (dense.heads != smaller.heads && find(config, "head_dim") == nullptr)
    edits.emplace_back("head_dim", dense.head_dim);
  change("num_local_experts", dense.experts, smaller.experts);
  change("num_experts_per_tok", dense.experts_per_token, smaller.experts_per_token);
  change(keys.layers, dense.layers, smaller.layers);
  if (dense.layers != smaller.layers) cut_lists(config, dense, cut, edits);
  return edits;
}

bool agree(const DecoderConfig& a, const DecoderConfig& b) {
  return size_of(a) == size_of(b) && a.layers == b.layers && a.head_dim == b.head_dim &&
         a.experts_per_token == b.experts_per_token && a.windows == b.windows &&
         a.attention_scales == b.attention_scales && a.rope.frequencies == b.rope.frequencies;
}

}  // namespace

std::string cut_config_text(std::string_view text, const DecoderConfig& dense, const Cut& cut) {
  const DecoderConfig smaller = cut_config(dense, cut);
  const std::string type(dense.family->model_type);
  if (smaller.heads != dense.heads && dense.family->derives_head_dim) {
    throw_usage("pattern heads: the config.json of " + type +
                " has no head_dim: its heads share the width and can't be removed");
  }
  const JsonEdits edits = edits_of(parse_json(text, "config.json"), dense, smaller, cut);
  std::string edited = edit_json(text, edits, "config.json");
  if (!agree(parse_decoder_config(parse_json(edited, "config.json")), smaller))
    throw_usage("the config of this " + type + " model can't say what would be left of it");
  return edited;
}

std::string loading_note(const DecoderConfig& config) {
  if (config.family->model_type != "llama" || config.width % config.heads == 0) return "";
  return "transformers 5 refuses a llama config whose " + std::to_string(config.heads) +
         " heads do not divide the width of " + std::to_string(config.width) +
         ", though head_dim is given; older ones load it";
}

}  // namespace prune
