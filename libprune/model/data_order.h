// The order in which a shard is read and written: that of its data, so that both run straight through the
// file.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "libprune/io/safetensors.h"

namespace prune {

// Indices into shard.tensors(), by where their data begins; empty tensors keep the header's order.
inline std::vector<size_t> data_order(const SafetensorsFile& shard) {
  std::vector<size_t> order(shard.tensors().size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::ranges::stable_sort(order, {}, [&](size_t i) { return shard.tensors()[i].begin; });
  return order;
}

}  // namespace prune
