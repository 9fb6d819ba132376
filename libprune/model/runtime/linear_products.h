// The linear layers of a checkpoint as products that are ready to run: packed weights on sparse kernels,
// others where they lie in the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libprune/model/decoder/linear.h"
#include "libprune/model/decoder/tensor_reader.h"
#include "libprune/model/rounding.h"

namespace prune {

class TuningTable;

struct RuntimeOptions {
  Rounding rounding = Rounding::kBf16;
  bool int8_inputs = false;  // see SparseLinearOptions
  std::optional<int64_t> dense_from =
      {};                         // rows of X from which layers are dense products; measured if absent
  bool for_many_rows = false;     // of packed layers, see SparseLinearOptions; others are dense products
  TuningTable* tuning = nullptr;  // nullptr: TuningTable::of_user()
};

// As many rows of X as a prompt usually brings at once.
inline constexpr int64_t kPromptRows = 512;

struct PreparedWeights {
  int64_t packed = 0;                      // layers on sparse kernels
  int64_t dense = 0;                       // others
  size_t bytes = 0;                        // memory of rearranged or converted weights
  size_t in_place = 0;                     // bytes of weights that are read from the file, token by token
  std::map<std::string, int64_t> kernels;  // what one row of X runs on, and in how many layers
  std::map<std::string, int64_t> prompt_kernels;  // what kPromptRows run on
};

// Keeps references to its arguments. The products read the checkpoint's files; it must outlive them.
class LinearProducts {
 public:
  LinearProducts(const TensorReader& tensors, const RuntimeOptions& options)
      : tensors_(tensors), options_(options) {}

  // A ProductFactory. Throws Error(kInput) naming a tensor that is missing, of another shape or, where the
  // product's first run does not check it, damaged.
  std::unique_ptr<LinearProduct> make(const std::string& weight_name, Orientation orientation, int64_t out,
                                      int64_t in, const std::vector<float>& bias);
  const PreparedWeights& prepared() const { return prepared_; }

  // Whether make() spares the floats that a layer is loaded as without it: for packed weights, and where
  // inputs are rounded for dense ones of bf16.
  bool spares_floats(const std::string& weight_name, Orientation orientation, int64_t out, int64_t in) const;

 private:
  std::unique_ptr<LinearProduct> make_packed(const PackedWeight& weight, const float* bias);
  std::unique_ptr<LinearProduct> make_dense(const std::string& name, Orientation orientation, int64_t out,
                                            int64_t in, const float* bias);

  const TensorReader& tensors_;
  RuntimeOptions options_;
  PreparedWeights prepared_;
};

}  // namespace prune
