#include "libprune/model/decoder/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/sparse/row_math/row_math.h"
#include "libprune/model/float_matrix.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

// One unit of parallel work.
struct Task {
  int64_t sequence, head, first_query;
};

std::vector<Task> tasks_of(const AttentionShape& shape, const Sequences& sequences) {
  std::vector<Task> tasks;
  for (int64_t s = 0; s < sequences.count(); ++s) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t first = 0; first < sequences.length(s); first += kQueryBlock)
        tasks.push_back({s, h, first});
    }
  }
  return tasks;
}

}  // namespace

void masked_softmax(float* row, int64_t low, int64_t high, int64_t keys) {
  std::fill(row, row + low, 0.0F);
  std::fill(row + high, row + keys, 0.0F);
  const kernels::RowMath& math = kernels::row_math();
  const float scale = 1 / math.exp_and_sum(row + low, high - low, math.largest(row + low, high - low));
  for (int64_t j = low; j < high; ++j) row[j] *= scale;
}

HeadView head_view(const AttentionShape& shape, const float* qkv, int64_t first_row, int64_t head) {
  const int64_t kv_head = head / (shape.heads / shape.kv_heads);
  const float* row = qkv + first_row * shape.qkv_width();
  return {row + head * shape.head_dim, row + (shape.heads + kv_head) * shape.head_dim,
          row + (shape.heads + shape.kv_heads + kv_head) * shape.head_dim};
}

QueryBlock query_block(const AttentionShape& shape, int64_t first, int64_t length) {
  const int64_t last = std::min(first + kQueryBlock, length);
  const int64_t key_first = shape.window > 0 ? std::max<int64_t>(0, first - shape.window + 1) : 0;
  return {first, last, key_first};
}

void attention_probabilities(const AttentionShape& shape, const HeadView& head, const QueryBlock& block,
                             float* p) {
  const int64_t ld = shape.qkv_width(), keys = block.keys();
  gemm({.m = block.queries(),
        .n = keys,
        .k = shape.head_dim,
        .transpose_b = Transpose::kYes,
        .alpha = shape.scale,
        .precision = shape.precision},
       head.q + block.first * ld, ld, head.k + block.key_first * ld, ld, p, keys);
  for (int64_t i = block.first; i < block.last; ++i) {
    const int64_t lowest = shape.window > 0 ? std::max<int64_t>(0, i - shape.window + 1) : 0;
    masked_softmax(p + (i - block.first) * keys, lowest - block.key_first, i + 1 - block.key_first, keys);
  }
}

void attend(const AttentionShape& shape, const Sequences& sequences, const float* qkv, float* context) {
  const int64_t ld = shape.qkv_width(), ldc = shape.heads * shape.head_dim;
  const std::vector<Task> tasks = tasks_of(shape, sequences);
  parallel_for(tasks.size(), 0, [&](size_t t) {
    thread_local FloatMatrix p;
    const auto [s, h, first] = tasks[t];
    const HeadView head = head_view(shape, qkv, sequences.begin(s), h);
    const QueryBlock block = query_block(shape, first, sequences.length(s));
    p.resize(block.queries(), block.keys());
    attention_probabilities(shape, head, block, p.data());
    gemm({.m = block.queries(), .n = shape.head_dim, .k = block.keys(), .precision = shape.precision},
         p.data(), p.cols(), head.v + block.key_first * ld, ld,
         context + (sequences.begin(s) + first) * ldc + h * shape.head_dim, ldc);
  });
}

}  // namespace prune
