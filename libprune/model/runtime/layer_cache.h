// Keys and values of one sequence in one layer: what attention needs of the tokens before.
#pragma once

#include <cstddef>
#include <cstdint>

#include "libprune/model/decoder/attention.h"
#include "libprune/model/float_matrix.h"

namespace prune {

class LayerCache {
 public:
  // For sequences of up to `most` tokens, of which at most `chunk` are appended at once. A layer with a
  // sliding window keeps as many tokens as the queries of a chunk see and room to append, however long the
  // sequence becomes. Memory is touched as it is filled.
  LayerCache(const AttentionShape& shape, int64_t most, int64_t chunk);

  // The keys and values of `count` rows of qkv (attention.h), of which the first token's position is end().
  // Keys are rotated already.
  void append(const float* qkv, int64_t count);

  // Positions [first(), end()) are held.
  int64_t first() const { return first_; }
  int64_t end() const { return first_ + count_; }
  // [end() - first(), head_dim] of a key and value head.
  const float* keys(int64_t head) const { return keys_.row(head * rows_); }
  const float* values(int64_t head) const { return values_.row(head * rows_); }

  size_t bytes() const { return static_cast<size_t>(keys_.size() + values_.size()) * sizeof(float); }

 private:
  void make_room(int64_t count);

  AttentionShape shape_;
  int64_t rows_;
  int64_t first_ = 0;
  int64_t count_ = 0;
  FloatMatrix keys_, values_;  // [kv_heads * rows_, head_dim]
};

}  // namespace prune
