// The pieces that the forward and the backward pass of attention share: heads, blocks of queries,
// probabilities.
#pragma once

#include <cstdint>

#include "libprune/model/decoder/attention.h"
#include "libprune/model/float_matrix.h"
#include "libprune/model/gemm.h"

namespace prune {

// x [tokens, heads * dim] as products read it. What they read rounded is rounded once, each head by itself,
// [heads][tokens][dim]: oneDNN 2.6 multiplies bf16 that lies further apart more slowly.
class HeadOperands {
 public:
  HeadOperands(const float* x, int64_t heads, int64_t dim, int64_t tokens, Precision precision,
               Bf16Memory& memory);

  GemmOperand of(int64_t head, int64_t first_row) const;

 private:
  const float* x_;
  int64_t heads_, dim_, tokens_;
  const uint16_t* rounded_ = nullptr;
};

// The places of one head of queries, and of the keys and values that it reads, among the heads of qkv.
struct HeadPlaces {
  int64_t q, k, v;
};
HeadPlaces head_places(const AttentionShape& shape, int64_t head);
HeadOperands qkv_operands(const AttentionShape& shape, const float* qkv, int64_t tokens, Bf16Memory& memory);

// The queries [first, last) of one sequence and the keys [key_first, last) that at least one of them sees.
struct QueryBlock {
  int64_t first = 0, last = 0;
  int64_t key_first = 0;

  int64_t queries() const { return last - first; }
  int64_t keys() const { return last - key_first; }
};
QueryBlock query_block(const AttentionShape& shape, int64_t first, int64_t length);

// The keys [low, high) of a block that the query sees.
struct KeyRange {
  int64_t low, high;
};
KeyRange keys_of(const AttentionShape& shape, const QueryBlock& block, int64_t query);

// [queries, keys] of one block, as floats and as products read it.
struct BlockMatrix {
  FloatMatrix floats;
  Bf16Memory rounded;  // empty where products read floats

  void resize(const QueryBlock& block, Precision precision);
  // Row i holds something in the keys of the range alone: the others become zeros, and the row is rounded.
  void finish_row(int64_t i, KeyRange range);
  GemmOperand operand() const;
};

// Probabilities of one block, p[i, j] = softmax_j(scale q_i . k_j) over the keys that query i sees, 0 for the
// others. q and k from the first row of the block on.
void attention_probabilities(const AttentionShape& shape, const GemmOperand& q, const GemmOperand& k,
                             const QueryBlock& block, BlockMatrix& p);

}  // namespace prune
