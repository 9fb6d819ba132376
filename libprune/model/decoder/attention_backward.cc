#include <algorithm>

#include "kernels/sparse/row_math/row_math.h"
#include "libprune/model/decoder/attention_block.h"
#include "libprune/model/decoder/backward.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

// The gradients of one key and value head of one sequence, and of the query heads that read it: nobody else
// writes to these columns. Probabilities are computed again, block by block.
class HeadBackward {
 public:
  // Of one thread, for one block after another: probabilities, and their slopes.
  struct Memory {
    BlockMatrix p, dp;
  };

  HeadBackward(const AttentionShape& shape, const HeadOperands& qkv, const HeadOperands& dcontext,
               float* dqkv, Memory& memory)
      : shape_(shape), qkv_(qkv), dcontext_(dcontext), dqkv_(dqkv), m_(memory) {}

  void run(int64_t first_row, int64_t length, int64_t kv_head) {
    const int64_t group = shape_.heads / shape_.kv_heads;
    begin_sums(first_row, length, head_places(shape_, kv_head * group));
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t first = 0; first < length;) {
        const QueryBlock block = query_block(shape_, first, length);
        block_backward(first_row, head, block);
        first = block.last;
      }
    }
  }

 private:
  float* at(int64_t row, int64_t place) const {
    return dqkv_ + row * shape_.qkv_width() + place * shape_.head_dim;
  }

  // Keys and values sum over heads and blocks.
  void begin_sums(int64_t first_row, int64_t length, const HeadPlaces& places) {
    for (int64_t i = first_row; i < first_row + length; ++i) {
      std::fill_n(at(i, places.k), shape_.head_dim, 0.0F);
      std::fill_n(at(i, places.v), shape_.head_dim, 0.0F);
    }
  }

  void block_backward(int64_t first_row, int64_t head, const QueryBlock& block) {
    const int64_t ld = shape_.qkv_width(), dim = shape_.head_dim;
    const int64_t queries = block.queries(), keys = block.keys();
    const int64_t first_query = first_row + block.first, first_key = first_row + block.key_first;
    const HeadPlaces places = head_places(shape_, head);
    const Precision precision = shape_.precision;
    const GemmOperand q = qkv_.of(places.q, first_query), k = qkv_.of(places.k, first_key);
    const GemmOperand dcontext = dcontext_.of(head, first_query);

    attention_probabilities(shape_, q, k, block, m_.p);
    m_.dp.resize(block, precision);
    gemm({.m = queries, .n = keys, .k = dim, .transpose_b = Transpose::kYes, .precision = precision},
         dcontext, qkv_.of(places.v, first_key), m_.dp.floats.data(), keys);
    Gemm to_keys{.m = keys, .n = dim, .k = queries, .transpose_a = Transpose::kYes, .beta = 1};
    to_keys.precision = precision;
    gemm(to_keys, m_.p.operand(), dcontext, at(first_key, places.v), ld);
    softmax_backward(block);
    const GemmOperand slopes = m_.dp.operand();
    gemm({.m = queries, .n = dim, .k = keys, .precision = precision}, slopes, k, at(first_query, places.q),
         ld);
    gemm(to_keys, slopes, q, at(first_key, places.k), ld);
  }

  // dS = scale P * (dP - rowsum(P * dP)) in place of dP: the gradient of what is multiplied by scale to be
  // the softmax's argument. Scaled here, not by the products: oneDNN is slow where one has both alpha and
  // beta.
  void softmax_backward(const QueryBlock& block) {
    const kernels::RowMath& math = kernels::row_math();
    for (int64_t i = 0; i < block.queries(); ++i) {
      const KeyRange range = keys_of(shape_, block, block.first + i);
      math.softmax_slope(m_.p.floats.row(i) + range.low, m_.dp.floats.row(i) + range.low,
                         range.high - range.low, shape_.scale);
      m_.dp.finish_row(i, range);
    }
  }

  const AttentionShape& shape_;
  const HeadOperands& qkv_;
  const HeadOperands& dcontext_;
  float* dqkv_;
  Memory& m_;
};

}  // namespace

void attend_backward(const AttentionShape& shape, const Sequences& sequences, const float* qkv,
                     const float* dcontext, float* dqkv) {
  thread_local Bf16Memory qkv_memory, dcontext_memory;
  const HeadOperands heads = qkv_operands(shape, qkv, sequences.tokens(), qkv_memory);
  const HeadOperands slopes(dcontext, shape.heads, shape.head_dim, sequences.tokens(), shape.precision,
                            dcontext_memory);
  parallel_for(size_t(sequences.count() * shape.kv_heads), 0, [&](size_t t) {
    thread_local HeadBackward::Memory memory;
    const int64_t s = int64_t(t) / shape.kv_heads;
    HeadBackward(shape, heads, slopes, dqkv, memory)
        .run(sequences.begin(s), sequences.length(s), int64_t(t) % shape.kv_heads);
  });
}

}  // namespace prune
