// What packing or unpacking a checkpoint did.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <prune/matrix.h>

namespace prune {

struct PackedTensorReport {
  std::string name;
  std::string dtype;
  Index out = 0;
  Index in = 0;
  int64_t zeros = 0;
  std::string format;      // "nm 2:4", "bitmask", "csr", "bsr 16x16", "windows 2", "dense"
  std::string reason;      // why it stays dense
  int64_t lost_signs = 0;  // -0 that become +0, see unpack_checkpoint()
  uint64_t dense_bytes = 0;
  uint64_t packed_bytes = 0;
  std::optional<double> output_error = {};  // of calibrated rounding: ||X (W' - W)^T||^2 / ||X W^T||^2
};

struct PackReport {
  std::string model;
  std::string output;
  std::vector<PackedTensorReport> tensors;  // the linear weights, packed or left dense
  uint64_t model_bytes = 0;                 // all shards, before and after
  uint64_t packed_model_bytes = 0;
  double seconds = 0;
};

nlohmann::json to_json(const PackedTensorReport& report);
PackedTensorReport packed_tensor_report_from_json(const nlohmann::json& entry);  // what to_json() made
nlohmann::json to_json(const PackReport& report);

}  // namespace prune
