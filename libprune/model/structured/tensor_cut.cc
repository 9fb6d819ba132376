#include "libprune/model/structured/tensor_cut.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

namespace prune {
namespace {

// "12.mlp.up_proj.weight" -> 12, and what follows the dot.
std::optional<std::pair<int64_t, std::string_view>> split_number(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const size_t digits = size_t(end - text.data());
  if (error != std::errc() || number < 0 || digits >= text.size() || text[digits] != '.') return std::nullopt;
  return std::pair(number, text.substr(digits + 1));
}

size_t place_of(std::span<const std::string_view> names, std::string_view name) {
  return size_t(std::ranges::find(names, name) - names.begin());
}

}  // namespace

std::vector<int64_t> TensorCut::shape(std::vector<int64_t> dense) const {
  if (rows) dense.at(0) = int64_t(rows->size());
  if (columns) dense.at(1) = int64_t(columns->size());
  return dense;
}

TensorCut TensorCuts::of(std::string_view tensor) const {
  std::string list = decoder_.layer_name(0);
  list.pop_back();  // "model.layers."
  if (!tensor.starts_with(list)) return {std::string(tensor)};
  const auto number = split_number(tensor.substr(list.size()));
  if (!number) return {std::string(tensor)};
  const auto layer = std::ranges::find(cut_.layers, number->first, &LayerCut::layer);
  if (layer == cut_.layers.end()) return {};
  TensorCut cut = inside_layer(*layer, number->second);
  if (cut.stays()) cut.name = decoder_.layer_name(layer - cut_.layers.begin()) + "." + cut.name;
  return cut;
}

TensorCut TensorCuts::inside_layer(const LayerCut& layer, std::string_view name) const {
  const DecoderConfig& config = decoder_.config();
  const std::string experts = std::string(config.family->names.experts) + ".";
  TensorCut cut{std::string(name)};
  std::string_view inside = name;
  size_t expert = 0;
  if (config.has_experts() && name.starts_with(experts)) {
    if (const auto number = split_number(name.substr(experts.size()))) {
      const auto found = std::ranges::find(layer.experts, number->first);
      if (found == layer.experts.end()) return {};
      expert = size_t(found - layer.experts.begin());
      inside = number->second;
      cut.name = experts + std::to_string(expert) + "." + std::string(inside);
    }
  }
  const bool is_weight = inside.ends_with(".weight");
  if (!is_weight && !inside.ends_with(".bias")) return cut;
  const std::string_view module = inside.substr(0, inside.rfind('.'));
  cut.rows = rows_of(layer, module, expert);
  if (!is_weight) return cut;
  cut.columns = columns_of(layer, module, expert);
  if (config.family->orientation == Orientation::kInOut) std::swap(cut.rows, cut.columns);
  return cut;
}

std::optional<Units> TensorCuts::rows_of(const LayerCut& layer, std::string_view module,
                                         size_t expert) const {
  const DecoderConfig& config = decoder_.config();
  const ModuleNames& names = config.family->names;
  if (const size_t i = place_of(names.qkv, module); i < names.qkv.size()) {
    if (int64_t(layer.heads.size()) == config.heads) return std::nullopt;
    return qkv_rows(config, layer, i, names.qkv.size() == 1);
  }
  if (place_of(names.expanding, module) < names.expanding.size()) {
    if (int64_t(layer.channels[expert].size()) == config.inner) return std::nullopt;
    return expanding_rows(config, layer.channels[expert], names.expanding.size() == 1);
  }
  if (config.has_experts() && module == names.router && int64_t(layer.experts.size()) < config.experts)
    return layer.experts;
  return std::nullopt;
}

std::optional<Units> TensorCuts::columns_of(const LayerCut& layer, std::string_view module,
                                            size_t expert) const {
  const DecoderConfig& config = decoder_.config();
  const ModuleNames& names = config.family->names;
  if (module == names.output && int64_t(layer.heads.size()) < config.heads)
    return columns_of_heads(config, layer.heads);
  if (module == names.contracting && int64_t(layer.channels[expert].size()) < config.inner)
    return layer.channels[expert];
  return std::nullopt;
}

std::vector<std::byte> cut_bytes(std::span<const std::byte> bytes, const std::vector<int64_t>& shape,
                                 size_t element, const TensorCut& cut) {
  if (cut.is_whole()) return {bytes.begin(), bytes.end()};
  const size_t row_bytes = (shape.size() > 1 ? size_t(shape[1]) : 1) * element;
  const size_t rows = cut.rows ? cut.rows->size() : size_t(shape[0]);
  std::vector<std::byte> result;
  result.reserve(rows * row_bytes);
  for (size_t i = 0; i < rows; ++i) {
    const auto row = bytes.subspan((cut.rows ? size_t((*cut.rows)[i]) : i) * row_bytes, row_bytes);
    if (!cut.columns) {
      result.insert(result.end(), row.begin(), row.end());
      continue;
    }
    for (const int64_t column : *cut.columns) {
      const auto value = row.subspan(size_t(column) * element, element);
      result.insert(result.end(), value.begin(), value.end());
    }
  }
  return result;
}

}  // namespace prune
