#include "bench/shapes.h"

#include <algorithm>

namespace prune::bench {

// From the models' config.json: hidden_size, intermediate_size, and num_key_value_heads x head_dim.
const std::vector<ShapeSet>& shape_sets() {
  static const std::vector<ShapeSet> sets = {
      {"common", "square and oblong", {{2048, 2048}, {4096, 4096}, {4096, 14336}}},
      {"large", "beyond any cache; up to 8 rows of X", {{8192, 8192}}, true},
      {"llama-7b", "q k v o, gate up, down", {{4096, 4096}, {11008, 4096}, {4096, 11008}}},
      {"llama-8b", "q o, k v, gate up, down", {{4096, 4096}, {1024, 4096}, {14336, 4096}, {4096, 14336}}},
      {"llama-70b", "q o, k v, gate up, down", {{8192, 8192}, {1024, 8192}, {28672, 8192}, {8192, 28672}}},
      {"qwen2.5-7b", "q o, k v, gate up, down", {{3584, 3584}, {512, 3584}, {18944, 3584}, {3584, 18944}}},
      {"bert-base", "q k v o, up, down", {{768, 768}, {3072, 768}, {768, 3072}}},
  };
  return sets;
}

const ShapeSet* find_shape_set(std::string_view name) {
  const auto found = std::ranges::find(shape_sets(), name, &ShapeSet::name);
  return found == shape_sets().end() ? nullptr : &*found;
}

}  // namespace prune::bench
