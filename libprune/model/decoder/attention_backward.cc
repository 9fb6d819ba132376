#include <algorithm>

#include "libprune/model/decoder/backward.h"
#include "libprune/model/gemm.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

// dS = P * (dP - rowsum(P * dP)), the gradient of the softmax's argument, in place of dP.
void softmax_backward(const FloatMatrix& p, FloatMatrix& dp) {
  for (int64_t i = 0; i < p.rows(); ++i) {
    const float* row = p.row(i);
    float* slope = dp.row(i);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < p.cols(); ++j) sum += row[j] * slope[j];
    for (int64_t j = 0; j < p.cols(); ++j) slope[j] = row[j] * (slope[j] - sum);
  }
}

// The gradients of one key and value head of one sequence, and of the query heads that read it: nobody else
// writes to these columns. Probabilities are computed again, block by block.
class HeadBackward {
 public:
  HeadBackward(const AttentionShape& shape, const float* qkv, const float* dcontext, float* dqkv)
      : shape_(shape), qkv_(qkv), dcontext_(dcontext), dqkv_(dqkv) {}

  void run(int64_t first_row, int64_t length, int64_t kv_head) {
    const int64_t group = shape_.heads / shape_.kv_heads;
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t first = 0; first < length;) {
        const QueryBlock block = query_block(shape_, first, length);
        block_backward(first_row, head, block);
        first = block.last;
      }
    }
  }

 private:
  void block_backward(int64_t first_row, int64_t head, const QueryBlock& block) {
    const int64_t ld = shape_.qkv_width(), ldc = shape_.heads * shape_.head_dim, dim = shape_.head_dim;
    const int64_t queries = block.queries(), keys = block.keys();
    const HeadView view = head_view(shape_, qkv_, first_row, head);
    float* dq = dqkv_ + (view.q - qkv_) + block.first * ld;
    float* dk = dqkv_ + (view.k - qkv_) + block.key_first * ld;
    float* dv = dqkv_ + (view.v - qkv_) + block.key_first * ld;
    const float* dcontext = dcontext_ + (first_row + block.first) * ldc + head * dim;

    p_.resize(queries, keys);
    dp_.resize(queries, keys);
    attention_probabilities(shape_, view, block, p_.data());
    gemm({.m = queries, .n = keys, .k = dim, .transpose_b = Transpose::kYes}, dcontext, ldc,
         view.v + block.key_first * ld, ld, dp_.data(), keys);
    gemm({.m = keys, .n = dim, .k = queries, .transpose_a = Transpose::kYes, .beta = 1}, p_.data(), keys,
         dcontext, ldc, dv, ld);
    softmax_backward(p_, dp_);
    gemm({.m = queries, .n = dim, .k = keys, .alpha = shape_.scale}, dp_.data(), keys,
         view.k + block.key_first * ld, ld, dq, ld);
    gemm(
        {.m = keys, .n = dim, .k = queries, .transpose_a = Transpose::kYes, .alpha = shape_.scale, .beta = 1},
        dp_.data(), keys, view.q + block.first * ld, ld, dk, ld);
  }

  const AttentionShape& shape_;
  const float* qkv_;
  const float* dcontext_;
  float* dqkv_;
  FloatMatrix p_, dp_;
};

}  // namespace

void attend_backward(const AttentionShape& shape, const Sequences& sequences, const float* qkv,
                     const float* dcontext, float* dqkv) {
  std::fill_n(dqkv, sequences.tokens() * shape.qkv_width(), 0.0F);
  const size_t tasks = size_t(sequences.count() * shape.kv_heads);
  parallel_for(tasks, 0, [&](size_t t) {
    const int64_t s = int64_t(t) / shape.kv_heads;
    HeadBackward(shape, qkv, dcontext, dqkv)
        .run(sequences.begin(s), sequences.length(s), int64_t(t) % shape.kv_heads);
  });
}

}  // namespace prune
