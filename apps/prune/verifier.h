// Holding a checkpoint against what pruning and packing promise.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <prune/pattern.h>
#include <prune/select.h>

#include "libprune/io/checkpoint.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/progress.h"

namespace prune::app {

// A checkpoint whose tensors can be had dense, packed or not.
struct Model {
  explicit Model(const std::string& path) : checkpoint(path) {
    if (PackedCheckpoint::is_packed(checkpoint)) packed = std::make_unique<PackedCheckpoint>(checkpoint);
  }
  Checkpoint checkpoint;
  std::unique_ptr<PackedCheckpoint> packed;
};

struct Promise {
  std::optional<Pattern> pattern = {};  // kept by every selected weight
  std::optional<double> sparsity = {};  // of all selected weights, shared over `scope` as in pruning
  Scope scope = Scope::kLayer;
  bool skip_unfit = false;                // matrices that can't take the pattern count as other tensors
  bool updated = false;                   // weights that stay may have changed: their values are not compared
  std::vector<std::string> include = {};  // which weights, see WeightSelection
  std::vector<std::string> exclude = {};
};

struct Verdict {
  std::vector<std::string> mismatches;  // sorted
  int64_t matrices = 0;
  int64_t weights = 0;
  int64_t zeros = 0;
};

// Looks at every tensor of the model, and with an original holds it and all other files against that. Throws
// Error(kInput) for what cannot be read at all: a damaged packed weight, NaN.
Verdict verify(const Model& model, const Model* original, const Promise& promise, int threads,
               const Progress& progress);

}  // namespace prune::app
