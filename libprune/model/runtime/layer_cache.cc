#include "libprune/model/runtime/layer_cache.h"

#include <algorithm>
#include <cstring>

namespace prune {
namespace {

// With a window, as much room to append as the window is long: tokens are moved once on average.
int64_t rows_to_hold(int64_t window, int64_t most, int64_t chunk) {
  return window == 0 ? most : std::min(most, window - 1 + std::max(window, chunk));
}

}  // namespace

LayerCache::LayerCache(const AttentionShape& shape, int64_t most, int64_t chunk)
    : shape_(shape),
      rows_(rows_to_hold(shape.window, most, chunk)),
      keys_(shape.kv_heads * rows_, shape.head_dim),
      values_(shape.kv_heads * rows_, shape.head_dim) {}

// The next query sees the window - 1 tokens before it.
void LayerCache::make_room(int64_t count) {
  if (count_ + count <= rows_) return;
  const int64_t kept = std::min(count_, shape_.window - 1), dropped = count_ - kept;
  for (FloatMatrix* matrix : {&keys_, &values_}) {
    for (int64_t h = 0; h < shape_.kv_heads; ++h) {
      std::memmove(matrix->row(h * rows_), matrix->row(h * rows_ + dropped),
                   static_cast<size_t>(kept * shape_.head_dim) * sizeof(float));
    }
  }
  first_ += dropped;
  count_ = kept;
}

void LayerCache::append(const float* qkv, int64_t count) {
  make_room(count);
  const int64_t dim = shape_.head_dim;
  for (int64_t h = 0; h < shape_.kv_heads; ++h) {
    const float* key = qkv + (shape_.heads + h) * dim;
    const float* value = key + shape_.kv_heads * dim;
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(key + i * shape_.qkv_width(), dim, keys_.row(h * rows_ + count_ + i));
      std::copy_n(value + i * shape_.qkv_width(), dim, values_.row(h * rows_ + count_ + i));
    }
  }
  count_ += count;
}

}  // namespace prune
