// Checkpoints in the sparse formats that compressed-tensors wrote until version 0.14, `sparse-24-bitmask` and
// `sparse-bitmask`, which no current release reads. For a module M with M.weight [R, C] they hold
//   M.compressed   24: [R, C / 2], else [nnz]; the kept values, row by row, of the weight's type
//   M.bitmask      U8 [R, ceil(C / 8)]: bit j % 8 of byte j / 8 is set where weight j is kept
//   M.shape        I64 [2] or [2, 1]: R, C
//   M.row_offsets  I64 [R]: values before each row; not with 24, where every four weights keep two
// Older files have M.weight.compressed and so on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/checkpoint.h"

namespace prune {

struct CompressedWeight {
  std::string tensor;  // the dense tensor that it stands for
  DType dtype = DType::kBF16;
  int64_t rows = 0, cols = 0;
  TensorRef values, bitmask;
  std::optional<TensorRef> row_offsets;  // nothing: 2:4

  uint64_t dense_bytes() const { return uint64_t(rows) * uint64_t(cols) * uint64_t(bits(dtype)) / 8; }
};

class CompressedTensors {
 public:
  // True where a tensor's name ends in ".compressed".
  static bool are_in(const Checkpoint& checkpoint);

  // Checks that the parts of every weight are there, with types and shapes that agree. Keeps a reference to
  // the checkpoint. Throws Error(kInput) naming the tensor.
  explicit CompressedTensors(const Checkpoint& checkpoint);

  // The weight whose values are in this tensor; whether it is another part of one; else neither.
  const CompressedWeight* of_values(std::string_view tensor_name) const;
  bool is_other_part(std::string_view tensor_name) const;

  // [rows, cols], +0 where nothing is kept. Throws Error(kInput) where bitmask, offsets and values disagree.
  std::vector<std::byte> unpack(const CompressedWeight& weight) const;

 private:
  CompressedWeight read(const std::string& base, TensorRef values) const;
  TensorRef part(const std::string& base, const char* suffix, DType dtype) const;
  void read_shape(const std::string& base, CompressedWeight& weight) const;
  void check_row(const CompressedWeight& weight, int64_t row, int64_t first) const;

  const Checkpoint& checkpoint_;
  std::map<std::string, const CompressedWeight*, std::less<>> parts_;  // null: not the values
  std::vector<CompressedWeight> weights_;
};

// config.json without what says that weights are sparse, so that the dense folder loads as any other. A
// quantization that is described beside stays.
std::string without_sparsity(std::string_view config_text);

}  // namespace prune
