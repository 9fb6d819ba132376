#include <algorithm>

#include <omp.h>

#include "kernels/sparse/row_math/row_math.h"
#include "libprune/model/decoder/attention_block.h"
#include "libprune/model/decoder/backward.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

// Where the gradients of one key and value head of one sequence are summed.
struct KeyValueSums {
  float *dk, *dv;  // of the sequence's first token
  int64_t ld;

  float* key(int64_t token) const { return dk + token * ld; }
  float* value(int64_t token) const { return dv + token * ld; }
};

// One part of `parts` of the work on one key and value head of one sequence: all blocks of the query heads
// that read it are dealt out in turn. Nobody else writes to the columns of these queries' blocks, nor to the
// sums of this part. Probabilities are computed again, block by block.
class HeadBackward {
 public:
  // Of one thread, for one block after another: probabilities, and their slopes.
  struct Memory {
    BlockMatrix p, dp;
  };

  HeadBackward(const AttentionShape& shape, const HeadOperands& qkv, const HeadOperands& dcontext,
               float* dqkv, Memory& memory)
      : shape_(shape), qkv_(qkv), dcontext_(dcontext), dqkv_(dqkv), m_(memory) {}

  void run(int64_t first_row, int64_t length, int64_t kv_head, int64_t part, int64_t parts,
           const KeyValueSums& sums) {
    for (int64_t i = 0; i < length; ++i) {
      std::fill_n(sums.key(i), shape_.head_dim, 0.0F);
      std::fill_n(sums.value(i), shape_.head_dim, 0.0F);
    }
    const int64_t group = shape_.heads / shape_.kv_heads;
    int64_t turn = 0;
    for (int64_t first = 0; first < length;) {
      const QueryBlock block = query_block(shape_, first, length);
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        if (turn++ % parts == part) block_backward(first_row, head, block, sums);
      }
      first = block.last;
    }
  }

 private:
  void block_backward(int64_t first_row, int64_t head, const QueryBlock& block, const KeyValueSums& sums) {
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
    gemm(to_keys, m_.p.operand(), dcontext, sums.value(block.key_first), sums.ld);
    softmax_backward(block);
    const GemmOperand slopes = m_.dp.operand();
    gemm({.m = queries, .n = dim, .k = keys, .precision = precision}, slopes, k,
         dqkv_ + first_query * ld + places.q * dim, ld);
    gemm(to_keys, slopes, q, sums.key(block.key_first), sums.ld);
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

// The gradients of all heads. Where heads of keys and values do not share out evenly among the threads, the
// work on each is cut in parts: the first sums where the result belongs, the others in memory of their own,
// which is added in turn.
class AttentionBackward {
 public:
  // `sums` is memory that the next batch uses again.
  AttentionBackward(const AttentionShape& shape, const Sequences& sequences, float* dqkv, FloatMatrix& sums)
      : shape_(shape),
        sequences_(sequences),
        dqkv_(dqkv),
        heads_(sequences.count() * shape.kv_heads),
        sums_(sums) {
    const int64_t blocks = (longest() + kQueryBlock - 1) / kQueryBlock * (shape.heads / shape.kv_heads);
    const int64_t threads = omp_get_max_threads();
    // Enough for threads to end together; heads that do so by themselves need no sums of parts.
    if (heads_ > 0 && heads_ % threads != 0)
      parts_ = std::clamp<int64_t>((kPartsOfThread * threads + heads_ - 1) / heads_, 1, blocks);
    sums_.resize((parts_ - 1) * heads_ * longest(), 2 * shape.head_dim);
  }

  void run(const HeadOperands& qkv, const HeadOperands& dcontext) {
    parallel_for(size_t(heads_ * parts_), 0, [&](size_t t) {
      thread_local HeadBackward::Memory memory;
      const int64_t head = int64_t(t) % heads_, part = int64_t(t) / heads_, s = head / shape_.kv_heads;
      HeadBackward(shape_, qkv, dcontext, dqkv_, memory)
          .run(sequences_.begin(s), sequences_.length(s), head % shape_.kv_heads, part, parts_,
               sums(head, part));
    });
    if (parts_ > 1) parallel_for(size_t(heads_), 0, [&](size_t head) { add_parts(int64_t(head)); });
  }

 private:
  int64_t longest() const {
    int64_t longest = 1;
    for (int64_t s = 0; s < sequences_.count(); ++s) longest = std::max(longest, sequences_.length(s));
    return longest;
  }

  KeyValueSums sums(int64_t head, int64_t part) {
    const int64_t dim = shape_.head_dim, ld = shape_.qkv_width();
    if (part > 0) {
      float* own = sums_.row(((part - 1) * heads_ + head) * longest());
      return {own, own + dim, 2 * dim};
    }
    const HeadPlaces places = head_places(shape_, head % shape_.kv_heads * (shape_.heads / shape_.kv_heads));
    float* first = dqkv_ + sequences_.begin(head / shape_.kv_heads) * ld;
    return {first + places.k * dim, first + places.v * dim, ld};
  }

  void add_parts(int64_t head) {
    const KeyValueSums to = sums(head, 0);
    for (int64_t part = 1; part < parts_; ++part) {
      const KeyValueSums from = sums(head, part);
      for (int64_t i = 0; i < sequences_.length(head / shape_.kv_heads); ++i) {
        for (int64_t c = 0; c < shape_.head_dim; ++c) {
          to.key(i)[c] += from.key(i)[c];
          to.value(i)[c] += from.value(i)[c];
        }
      }
    }
  }

  const AttentionShape& shape_;
  const Sequences& sequences_;
  float* dqkv_;
  int64_t heads_;      // of keys and values, of all sequences
  int64_t parts_ = 1;  // of the work on each
  FloatMatrix& sums_;  // of all parts but the first, [part, head, token] of dk and dv
};

}  // namespace

void attend_backward(const AttentionShape& shape, const Sequences& sequences, const float* qkv,
                     const float* dcontext, float* dqkv) {
  thread_local Bf16Memory qkv_memory, dcontext_memory;
  const HeadOperands heads = qkv_operands(shape, qkv, sequences.tokens(), qkv_memory);
  const HeadOperands slopes(dcontext, shape.heads, shape.head_dim, sequences.tokens(), shape.precision,
                            dcontext_memory);
  thread_local FloatMatrix sums;
  AttentionBackward(shape, sequences, dqkv, sums).run(heads, slopes);
}

}  // namespace prune
