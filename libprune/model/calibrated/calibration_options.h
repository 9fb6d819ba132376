// What the user decides about calibration.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "libprune/model/gemm.h"

namespace prune {

// By what rule matrices share the sparsity of the model, see allocate_sparsity().
enum class Allocation { kUniform, kOwl, kError };

struct CalibrationOptions {
  std::filesystem::path file;             // text or token ids; empty: none
  int64_t samples = 128;                  // sequences
  int64_t own_samples = 0;                // more of them, that the dense model writes: own_text.h
  std::optional<int64_t> length = {};     // tokens of each; by default the model's maximum, at most 2048
  std::optional<uint64_t> seed = {};      // sequences from random places; by default the first of the file
  std::optional<double> damping = {};     // by default the method's
  std::optional<double> follow = {};      // see LayerMethod::follows_dense; by default 0.5
  int64_t steps = 400;                    // of reconstruction, where the method does it
  int64_t batch = 2;                      // sequences in each of them
  double learning_rate = 4e-4;            // of them
  Precision precision = Precision::kF32;  // of the linear layers' products
  Allocation allocation = Allocation::kUniform;
  bool keep_zeros = false;
  bool true_sequential = false;         // inputs from what is pruned already of the same layer
  uint64_t memory = uint64_t(4) << 30;  // bytes; what the pass holds beyond goes to a temporary file

  int64_t sequences() const { return samples + own_samples; }
};

}  // namespace prune
