#include "libprune/model/runtime/cached_forward.h"

#include <algorithm>

#include "libprune/model/gemm.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

// Products from which waking other threads is worth it.
constexpr int64_t kWorthSharing = int64_t{1} << 16;

// Queries against the keys of one head. A token alone brings all query heads that share these keys, head_dim
// apart; of several tokens each task takes one head, qkv_width apart.
struct Task {
  const LayerCache* cache;
  int64_t kv_head;
  int64_t row, column;     // of the first query in qkv and in context
  int64_t queries, heads;  // one of the two is 1
  int64_t position;        // of the first query
};

std::vector<Task> tasks_of(const AttentionShape& shape, const Sequences& sequences,
                           const std::vector<LayerCache*>& caches) {
  const int64_t sharing = shape.heads / shape.kv_heads;
  std::vector<Task> tasks;
  for (int64_t s = 0; s < sequences.count(); ++s) {
    const int64_t length = sequences.length(s), begin = sequences.begin(s);
    const LayerCache* cache = caches[size_t(s)];
    if (length == 1) {
      for (int64_t kv = 0; kv < shape.kv_heads; ++kv)
        tasks.push_back({cache, kv, begin, kv * sharing * shape.head_dim, 1, sharing, cache->end() - 1});
      continue;
    }
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t first = 0; first < length; first += kQueryBlock) {
        tasks.push_back({cache, h / sharing, begin + first, h * shape.head_dim,
                         std::min(kQueryBlock, length - first), 1, cache->end() - length + first});
      }
    }
  }
  return tasks;
}

void attend(const AttentionShape& shape, const Task& task, const float* qkv, float* context) {
  thread_local FloatMatrix p;
  const auto lowest = [&](int64_t position) {
    return shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1) : 0;
  };
  const int64_t dim = shape.head_dim, rows = task.queries * task.heads;
  const int64_t first_key = lowest(task.position), keys = task.position + task.queries - first_key;
  const int64_t ldq = task.heads > 1 ? dim : shape.qkv_width();
  const int64_t ldc = task.heads > 1 ? dim : shape.heads * dim;
  const int64_t held = first_key - task.cache->first();
  p.resize(rows, keys);
  gemm({.m = rows, .n = keys, .k = dim, .transpose_b = Transpose::kYes, .alpha = shape.scale},
       qkv + task.row * shape.qkv_width() + task.column, ldq, task.cache->keys(task.kv_head) + held * dim,
       dim, p.data(), keys);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t position = task.position + (task.heads > 1 ? 0 : i);
    masked_softmax(p.row(i), lowest(position) - first_key, position + 1 - first_key, keys);
  }
  gemm({.m = rows, .n = dim, .k = keys}, p.data(), keys, task.cache->values(task.kv_head) + held * dim, dim,
       context + task.row * shape.heads * dim + task.column, ldc);
}

// Queries and keys turned by their positions, then keys and values into the caches.
void rotate_and_append(const DecoderConfig& config, const AttentionShape& shape, const RopeTable& rope,
                       const Sequences& sequences, const std::vector<LayerCache*>& caches, float* qkv) {
  for (int64_t s = 0; s < sequences.count(); ++s) {
    LayerCache& cache = *caches[size_t(s)];
    float* rows = qkv + sequences.begin(s) * shape.qkv_width();
    const int64_t length = sequences.length(s), begin = cache.end();
    if (config.rope.dimensions > 0) {
#pragma omp parallel for if (length > 1)
      for (int64_t i = 0; i < length; ++i) {
        for (int64_t h = 0; h < shape.heads + shape.kv_heads; ++h)
          rope.rotate(rows + i * shape.qkv_width() + h * shape.head_dim, begin + i);
      }
    }
    cache.append(rows, length);
  }
}

}  // namespace

void attend_cached(const AttentionShape& shape, const Sequences& sequences,
                   const std::vector<LayerCache*>& caches, const float* qkv, float* context) {
  const std::vector<Task> tasks = tasks_of(shape, sequences, caches);
  int64_t products = 0;
  for (const Task& task : tasks) products += task.queries * task.heads * task.cache->end() * shape.head_dim;
  parallel_for(tasks.size(), products < kWorthSharing ? 1 : 0,
               [&](size_t t) { attend(shape, tasks[t], qkv, context); });
}

void forward_layer_cached(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences,
                          const std::vector<LayerCache*>& caches, const float* x, float* y,
                          LayerActivations& activations) {
  static const RopeTable kNoRotation(RopeConfig{}, 0);
  const AttentionShape shape = layer.attention_shape();
  forward_qkv(layer, kNoRotation, sequences, x, activations, {});
  rotate_and_append(*layer.config, shape, rope, sequences, caches, activations.qkv.data());
  activations.context.resize(sequences.tokens(), layer.config->context_width());
  attend_cached(shape, sequences, caches, activations.qkv.data(), activations.context.data());
  forward_attention_output(layer, x, activations, {});
  forward_feed_forward(layer, activations, y, {});
}

}  // namespace prune
