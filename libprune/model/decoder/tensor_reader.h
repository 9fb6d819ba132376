// Tensors of a checkpoint as floats.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/checkpoint.h"
#include "libprune/model/architecture.h"
#include "libprune/model/float_matrix.h"

namespace prune {

struct StoredMatrix {
  DType dtype = DType::kBF16;
  const std::byte* data = nullptr;  // row-major, in the mapped file; aligned or not
};

class PackedCheckpoint;
struct PackedWeight;

// Every floating-point type is widened to float; packed matrices are unpacked. Keeps a reference to the
// checkpoint. All throw Error(kInput) naming the tensor when it is missing or not of the shape that the
// configuration asks for.
class TensorReader {
 public:
  explicit TensorReader(const Checkpoint& checkpoint);
  ~TensorReader();

  // Whether a tensor is there, and not packed.
  bool has(std::string_view name) const { return checkpoint_.find(name).has_value(); }
  std::vector<float> vector(const std::string& name, int64_t size) const;
  // [out, in], whichever way round the file stores it.
  FloatMatrix matrix(const std::string& name, int64_t out, int64_t in, Orientation orientation) const;
  // The rows [first, first + count) of a matrix stored as [rows, cols] and not packed, to `out`.
  void rows(const std::string& name, int64_t rows, int64_t cols, int64_t first, int64_t count,
            float* out) const;
  // That matrix as it lies in the file.
  StoredMatrix stored(const std::string& name, int64_t rows, int64_t cols) const;
  // Null where nothing is packed.
  const PackedCheckpoint* packed() const { return packed_.get(); }
  // The packed weight of a dense tensor's name, or null.
  const PackedWeight* packed_weight(std::string_view name, int64_t out, int64_t in) const;

 private:
  FloatMatrix unpacked(const PackedWeight& weight) const;
  const TensorInfo& require(const std::string& name, const std::vector<int64_t>& shape) const;

  const Checkpoint& checkpoint_;
  std::unique_ptr<const PackedCheckpoint> packed_;  // null where nothing is packed
};

}  // namespace prune
