#include "libprune/model/decoder/attention.h"

#include <algorithm>
#include <vector>

#include "kernels/sparse/row_math/row_math.h"
#include "libprune/model/decoder/attention_block.h"
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

void softmax(float* row, int64_t n) {
  const kernels::RowMath& math = kernels::row_math();
  math.scale(row, n, 1 / math.exp_and_sum(row, n, math.largest(row, n)));
}

}  // namespace

void masked_softmax(float* row, int64_t low, int64_t high, int64_t keys) {
  std::fill(row, row + low, 0.0F);
  std::fill(row + high, row + keys, 0.0F);
  softmax(row + low, high - low);
}

HeadOperands::HeadOperands(const float* x, int64_t heads, int64_t dim, int64_t tokens, Precision precision,
                           Bf16Memory& memory)
    : x_(x), heads_(heads), dim_(dim), tokens_(tokens) {
  if (!reads_bf16(precision)) return;
  memory.resize(size_t(heads * tokens * dim));
  const kernels::RowMath& math = kernels::row_math();
  uint16_t* rounded = memory.data();
#pragma omp parallel for
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h)
      math.round_to_bf16(x + (t * heads + h) * dim, rounded + (h * tokens + t) * dim, dim);
  }
  rounded_ = rounded;
}

GemmOperand HeadOperands::of(int64_t head, int64_t first_row) const {
  const uint16_t* rounded = rounded_ == nullptr ? nullptr : rounded_ + (head * tokens_ + first_row) * dim_;
  return {x_ + (first_row * heads_ + head) * dim_, heads_ * dim_, rounded, dim_};
}

HeadPlaces head_places(const AttentionShape& shape, int64_t head) {
  const int64_t kv_head = head / (shape.heads / shape.kv_heads);
  return {head, shape.heads + kv_head, shape.heads + shape.kv_heads + kv_head};
}

HeadOperands qkv_operands(const AttentionShape& shape, const float* qkv, int64_t tokens, Bf16Memory& memory) {
  return {qkv, shape.heads + 2 * shape.kv_heads, shape.head_dim, tokens, shape.precision, memory};
}

QueryBlock query_block(const AttentionShape& shape, int64_t first, int64_t length) {
  const int64_t last = std::min(first + kQueryBlock, length);
  const int64_t key_first = shape.window > 0 ? std::max<int64_t>(0, first - shape.window + 1) : 0;
  return {first, last, key_first};
}

KeyRange keys_of(const AttentionShape& shape, const QueryBlock& block, int64_t query) {
  const int64_t lowest = shape.window > 0 ? std::max<int64_t>(0, query - shape.window + 1) : 0;
  return {lowest - block.key_first, query + 1 - block.key_first};
}

void BlockMatrix::resize(const QueryBlock& block, Precision precision) {
  floats.resize(block.queries(), block.keys());
  rounded.resize(reads_bf16(precision) ? size_t(floats.size()) : 0);
}

void BlockMatrix::finish_row(int64_t i, KeyRange range) {
  float* row = floats.row(i);
  std::fill(row, row + range.low, 0.0F);
  std::fill(row + range.high, row + floats.cols(), 0.0F);
  if (!rounded.empty())
    kernels::row_math().round_to_bf16(row, rounded.data() + i * floats.cols(), floats.cols());
}

GemmOperand BlockMatrix::operand() const {
  return {floats.data(), floats.cols(), rounded.empty() ? nullptr : rounded.data(), floats.cols()};
}

void attention_probabilities(const AttentionShape& shape, const GemmOperand& q, const GemmOperand& k,
                             const QueryBlock& block, BlockMatrix& p) {
  p.resize(block, shape.precision);
  gemm({.m = block.queries(),
        .n = block.keys(),
        .k = shape.head_dim,
        .transpose_b = Transpose::kYes,
        .alpha = shape.scale,
        .precision = shape.precision},
       q, k, p.floats.data(), block.keys());
  for (int64_t i = 0; i < block.queries(); ++i) {
    const KeyRange range = keys_of(shape, block, block.first + i);
    softmax(p.floats.row(i) + range.low, range.high - range.low);
    p.finish_row(i, range);
  }
}

void attend(const AttentionShape& shape, const Sequences& sequences, const float* qkv, float* context) {
  thread_local Bf16Memory memory;
  const HeadOperands heads = qkv_operands(shape, qkv, sequences.tokens(), memory);
  const int64_t ldc = shape.heads * shape.head_dim;
  const std::vector<Task> tasks = tasks_of(shape, sequences);
  parallel_for(tasks.size(), 0, [&](size_t t) {
    thread_local BlockMatrix p;
    const auto [s, h, first] = tasks[t];
    const HeadPlaces places = head_places(shape, h);
    const QueryBlock block = query_block(shape, first, sequences.length(s));
    const int64_t first_query = sequences.begin(s) + first, first_key = sequences.begin(s) + block.key_first;
    attention_probabilities(shape, heads.of(places.q, first_query), heads.of(places.k, first_key), block, p);
    gemm({.m = block.queries(), .n = shape.head_dim, .k = block.keys(), .precision = shape.precision},
         p.operand(), heads.of(places.v, first_key), context + first_query * ldc + h * shape.head_dim, ldc);
  });
}

}  // namespace prune
