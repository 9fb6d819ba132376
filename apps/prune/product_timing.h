// One product with a weight of a packed checkpoint, dense and sparse in turns.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/prune/timing.h"
#include "bench/machine.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune::app {

// What was measured for the weights of one shape, type and format, and one number of rows.
struct ProductTiming {
  std::string layer;  // "up_proj", or several names
  Index out = 0;
  Index in = 0;
  std::string dtype;
  std::string format;
  size_t weights = 0;
  int rows = 0;
  Timing dense;
  Timing sparse;
  int dense_threads = 0;
  int sparse_threads = 0;
  std::string dense_kernel;
  std::string sparse_kernel;
  bool dense_takes_bf16 = false;
  // What the sparse product can't do without: bytes of the packed weights, X and Y, and multiply-adds with
  // the weights that stay, counted in those of float (an instruction does two in bf16).
  double bytes = 0;
  double products = 0;

  std::optional<double> speedup() const { return app::speedup(dense, sparse); }
  double spread() const { return app::spread(dense, sparse); }
  std::string_view use() const { return faster(dense, sparse); }
};

// What a device can do at most.
struct ProductRoof {
  double bytes_per_second = 0;
  double products_per_second = 0;  // multiply-adds
};

// The weights of one shape, type and format.
struct WeightGroup {
  std::vector<const PackedWeight*> weights;

  ProductTiming timing(int rows) const;  // all but what is measured
};
// In the order of shapes, types and formats.
std::vector<WeightGroup> group_by_shape(const PackedCheckpoint& packed);

// Times every weight shape of the checkpoint with each number of rows, for so many seconds. The two sides are
// checked against each other first: throws Error(kRuntime) where they differ. Looks at the roof before each.
std::vector<ProductTiming> time_products(const PackedCheckpoint& packed, const std::vector<int>& rows,
                                         double seconds, bench::Roof& roof);

}  // namespace prune::app
