// Grouping tensors for tables: one row a decoder layer.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace prune::app {

// "model.layers.12.mlp.up_proj.weight" -> "model.layers.12"; a name without a layer number -> itself.
std::string layer_of(std::string_view tensor);

// Numbers inside names compare as numbers: "layers.2" before "layers.10".
struct NaturalLess {
  bool operator()(std::string_view a, std::string_view b) const;
};

template <class Item>
using Layers = std::map<std::string, std::vector<const Item*>, NaturalLess>;

// Items by the layer that item.name belongs to.
template <class Item>
Layers<Item> by_layer(const std::vector<Item>& items) {
  Layers<Item> layers;
  for (const Item& item : items) layers[layer_of(item.name)].push_back(&item);
  return layers;
}

}  // namespace prune::app
