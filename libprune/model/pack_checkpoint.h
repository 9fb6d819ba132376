// Whole checkpoints from dense-with-zeros to packed and back.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "libprune/io/staging.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/progress.h"

namespace prune {

struct PackOptions {
  std::optional<PackedFormat> format = {};  // nothing: for each tensor the smallest that holds it
  std::optional<Pattern> pattern = {};      // of nm or bsr, with that format; nothing: found from the zeros
  std::vector<std::string> include = {};    // these weights; empty: those the architecture names
  std::vector<std::string> exclude = {};
  int threads = 0;
};

struct PackedTensorReport {
  std::string name;
  std::string dtype;
  Index out = 0;
  Index in = 0;
  int64_t zeros = 0;
  std::string format;      // "nm 2:4", "bitmask", "csr", "bsr 16x16", "dense"
  std::string reason;      // why it stays dense
  int64_t lost_signs = 0;  // -0 that become +0, see unpack_checkpoint()
  uint64_t dense_bytes = 0;
  uint64_t packed_bytes = 0;
};

struct PackReport {
  std::string model;
  std::string output;
  std::vector<PackedTensorReport> tensors;  // the linear weights, packed or left dense
  uint64_t model_bytes = 0;                 // all shards, before and after
  uint64_t packed_model_bytes = 0;
  double seconds = 0;
};

// Writes the packed checkpoint. A weight that fits no format, or would not be smaller, stays dense and the
// report says why; with a format given, one that can't take it is refused. Other tensors and files are
// copied. Throws Error(kUsage) for a pattern that is not its format's, Error(kInput) when there is no weight
// to pack or one is refused; other Errors, and Interrupted, as staging does.
PackReport pack_checkpoint(const Checkpoint& checkpoint, const PackOptions& options,
                           const std::filesystem::path& output, StagingOptions staging,
                           const Progress& progress);

// Writes the dense checkpoint that a packed one stands for, each weight in its place: what pack_checkpoint()
// was given, bit for bit but for the lost signs of its report: an nm group holds N weights, so where more
// than N are not +0, the -0 among them come back as +0. Pruning here leaves no such group. Throws
// Error(kInput) where the packed file is damaged.
PackReport unpack_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& output,
                             StagingOptions staging, int threads, const Progress& progress);

nlohmann::json to_json(const PackReport& report);

}  // namespace prune
