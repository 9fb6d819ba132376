#include <algorithm>

#include "libprune/model/decoder/backward.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

// dS = scale P * (dP - rowsum(P * dP)) in place of dP: the gradient of what is multiplied by scale to be the
// softmax's argument.
void softmax_backward(const FloatMatrix& p, float scale, FloatMatrix& dp) {
  for (int64_t i = 0; i < p.rows(); ++i) {
    const float* row = p.row(i);
    float* slope = dp.row(i);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < p.cols(); ++j) sum += row[j] * slope[j];
    for (int64_t j = 0; j < p.cols(); ++j) slope[j] = scale * row[j] * (slope[j] - sum);
  }
}

// The gradients of one key and value head of one sequence, and of the query heads that read it: nobody else
// writes to these columns. Probabilities are computed again, block by block.
class HeadBackward {
 public:
  // Of one thread, for one block after another.
  struct Memory {
    FloatMatrix p, dp;
    Bf16Memory dcontext, slopes;
  };

  HeadBackward(const AttentionShape& shape, const float* qkv, const float* dcontext, float* dqkv,
               Memory& memory)
      : shape_(shape), qkv_(qkv), dcontext_(dcontext), dqkv_(dqkv), m_(memory) {}

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
    const Precision precision = shape_.precision;
    const GemmOperand dcontext = gemm_operand(dcontext_ + (first_row + block.first) * ldc + head * dim, ldc,
                                              queries, dim, precision, m_.dcontext);

    m_.p.resize(queries, keys);
    m_.dp.resize(queries, keys);
    attention_probabilities(shape_, view, block, m_.p.data());
    gemm({.m = queries, .n = keys, .k = dim, .transpose_b = Transpose::kYes, .precision = precision},
         dcontext, {view.v + block.key_first * ld, ld}, m_.dp.data(), keys);
    Gemm to_keys{.m = keys, .n = dim, .k = queries, .transpose_a = Transpose::kYes, .beta = 1};
    to_keys.precision = precision;
    gemm(to_keys, {m_.p.data(), keys}, dcontext, dv, ld);
    // Not left to the products: oneDNN is slow where one has both alpha and beta.
    softmax_backward(m_.p, shape_.scale, m_.dp);
    const GemmOperand slopes = gemm_operand(m_.dp.data(), keys, queries, keys, precision, m_.slopes);
    gemm({.m = queries, .n = dim, .k = keys, .precision = precision}, slopes,
         {view.k + block.key_first * ld, ld}, dq, ld);
    gemm(to_keys, slopes, {view.q + block.first * ld, ld}, dk, ld);
  }

  const AttentionShape& shape_;
  const float* qkv_;
  const float* dcontext_;
  float* dqkv_;
  Memory& m_;
};

}  // namespace

void attend_backward(const AttentionShape& shape, const Sequences& sequences, const float* qkv,
                     const float* dcontext, float* dqkv) {
  std::fill_n(dqkv, sequences.tokens() * shape.qkv_width(), 0.0F);
  const size_t tasks = size_t(sequences.count() * shape.kv_heads);
  parallel_for(tasks, 0, [&](size_t t) {
    thread_local HeadBackward::Memory memory;
    const int64_t s = int64_t(t) / shape.kv_heads;
    HeadBackward(shape, qkv, dcontext, dqkv, memory)
        .run(sequences.begin(s), sequences.length(s), int64_t(t) % shape.kv_heads);
  });
}

}  // namespace prune
