#include "libprune/model/compressed_tensors.h"

#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "libprune/io/json.h"
#include "libprune/io/text.h"

namespace prune {
namespace {

constexpr std::string_view kValues = ".compressed", kWeight = ".weight";

[[noreturn]] void refuse(const CompressedWeight& weight, const std::string& fault) {
  throw_input("compressed tensor " + quote_name(weight.tensor) + ": " + fault);
}

std::string dense_name(const std::string& base) {
  return base.ends_with(kWeight) ? base : base + std::string(kWeight);
}

int64_t load(std::span<const std::byte> numbers, int64_t i) {
  int64_t number;
  std::memcpy(&number, numbers.data() + size_t(i) * sizeof number, sizeof number);
  return number;
}

int64_t mask_bytes(const CompressedWeight& weight) { return (weight.cols + 7) / 8; }

const uint8_t* row_of(std::span<const std::byte> mask, const CompressedWeight& weight, int64_t row) {
  return reinterpret_cast<const uint8_t*>(mask.data()) + row * mask_bytes(weight);
}

int64_t kept_in(const uint8_t* row, int64_t bytes) {
  int64_t kept = 0;
  for (int64_t b = 0; b < bytes; ++b) kept += std::popcount(row[b]);
  return kept;
}

// Two of every four.
bool is_24(const uint8_t* row, int64_t cols) {
  for (int64_t j = 0; j < cols; j += 4) {
    if (std::popcount(uint8_t(row[j / 8] >> (j % 8) & 15)) != 2) return false;
  }
  return true;
}

}  // namespace

bool CompressedTensors::are_in(const Checkpoint& checkpoint) {
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    for (const TensorInfo& tensor : shard.tensors()) {
      if (tensor.name.ends_with(kValues)) return true;
    }
  }
  return false;
}

CompressedTensors::CompressedTensors(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    for (const TensorInfo& tensor : shard.tensors()) {
      if (!tensor.name.ends_with(kValues)) continue;
      const std::string base = tensor.name.substr(0, tensor.name.size() - kValues.size());
      weights_.push_back(read(base, *checkpoint.find(tensor.name)));
      for (const char* suffix : {".bitmask", ".shape", ".row_offsets"}) parts_[base + suffix] = nullptr;
    }
  }
  std::set<std::string_view> names;
  for (const CompressedWeight& weight : weights_) {
    if (!names.insert(weight.tensor).second) refuse(weight, "is there twice");
    if (checkpoint.find(weight.tensor)) refuse(weight, "is there dense and compressed");
    parts_[checkpoint.tensor(weight.values).name] = &weight;
  }
}

TensorRef CompressedTensors::part(const std::string& base, const char* suffix, DType dtype) const {
  const std::string name = base + suffix;
  const auto found = checkpoint_.find(name);
  if (!found) throw_input("compressed tensor " + quote_name(base) + ": its '" + suffix + "' is missing");
  if (checkpoint_.tensor(*found).dtype != dtype)
    throw_input("compressed tensor " + quote_name(base) + ": its '" + suffix + "' has another type");
  return *found;
}

void CompressedTensors::read_shape(const std::string& base, CompressedWeight& weight) const {
  const TensorRef shape = part(base, ".shape", DType::kI64);
  if (checkpoint_.tensor(shape).numel() != 2) refuse(weight, "its shape is not two numbers");
  const std::span<const std::byte> numbers = checkpoint_.data(shape);
  weight.rows = load(numbers, 0);
  weight.cols = load(numbers, 1);
  for (const int64_t extent : {weight.rows, weight.cols}) {
    if (extent < 1 || extent > std::numeric_limits<int32_t>::max())
      refuse(weight, "its shape has the extent " + std::to_string(extent));
  }
}

CompressedWeight CompressedTensors::read(const std::string& base, TensorRef values) const {
  const TensorInfo& stored = checkpoint_.tensor(values);
  CompressedWeight weight{.tensor = dense_name(base),
                          .dtype = stored.dtype,
                          .values = values,
                          .bitmask = part(base, ".bitmask", DType::kU8),
                          .row_offsets = {}};
  read_shape(base, weight);
  if (bits(weight.dtype) % 8 != 0) refuse(weight, "values of less than a byte");
  if (checkpoint_.tensor(weight.bitmask).shape != std::vector<int64_t>{weight.rows, mask_bytes(weight)})
    refuse(weight, "its bitmask has not the shape that it claims");
  if (checkpoint_.find(base + ".row_offsets")) {
    weight.row_offsets = part(base, ".row_offsets", DType::kI64);
    if (checkpoint_.tensor(*weight.row_offsets).numel() != weight.rows || stored.shape.size() != 1)
      refuse(weight, "its values or row_offsets have another number of dimensions or rows");
  } else if (weight.cols % 4 != 0 || stored.shape != std::vector<int64_t>{weight.rows, weight.cols / 2}) {
    refuse(weight, "its values are not half of its columns, and it has no row_offsets");
  }
  return weight;
}

const CompressedWeight* CompressedTensors::of_values(std::string_view tensor_name) const {
  const auto found = parts_.find(tensor_name);
  return found == parts_.end() ? nullptr : found->second;
}

bool CompressedTensors::is_other_part(std::string_view tensor_name) const {
  const auto found = parts_.find(tensor_name);
  return found != parts_.end() && found->second == nullptr;
}

// `first`: the values of the rows before.
void CompressedTensors::check_row(const CompressedWeight& weight, int64_t row, int64_t first) const {
  const uint8_t* mask = row_of(checkpoint_.data(weight.bitmask), weight, row);
  const auto at = [&](const char* fault) { refuse(weight, "row " + std::to_string(row) + ": " + fault); };
  if (weight.cols % 8 != 0 && mask[mask_bytes(weight) - 1] >> (weight.cols % 8) != 0)
    at("bits behind the last column are set");
  if (!weight.row_offsets) {
    if (!is_24(mask, weight.cols)) at("not two of every four bits are set");
  } else if (load(checkpoint_.data(*weight.row_offsets), row) != first) {
    at("its offset is not the number of bits before it");
  }
}

std::vector<std::byte> CompressedTensors::unpack(const CompressedWeight& weight) const {
  const size_t size = size_t(bits(weight.dtype)) / 8;
  const std::span<const std::byte> mask = checkpoint_.data(weight.bitmask),
                                   from = checkpoint_.data(weight.values);
  const int64_t stored = int64_t(from.size() / size);
  std::vector<std::byte> dense(weight.dense_bytes());
  int64_t next = 0;
  for (int64_t r = 0; r < weight.rows; ++r) {
    check_row(weight, r, next);
    const uint8_t* row = row_of(mask, weight, r);
    if (next + kept_in(row, mask_bytes(weight)) > stored)
      refuse(weight, "more bits are set than there are values");
    for (int64_t j = 0; j < weight.cols; ++j) {
      if ((row[j / 8] >> (j % 8) & 1) == 0) continue;
      std::memcpy(&dense[size_t(r * weight.cols + j) * size], from.data() + size_t(next) * size, size);
      ++next;
    }
  }
  if (next != stored) {
    refuse(weight, std::to_string(next) + " bits are set, " + std::to_string(stored) + " values are stored");
  }
  return dense;
}

std::string without_sparsity(std::string_view config_text) {
  parse_json(config_text, "config.json");  // refuses what is no JSON
  auto config = nlohmann::ordered_json::parse(config_text);
  if (!config.is_object()) throw_input("config.json is not a JSON object");
  config.erase("sparsity_config");
  for (const char* key : {"quantization_config", "compression_config"}) {
    const auto compression = config.find(key);
    if (compression == config.end() || !compression->is_object()) continue;
    compression->erase("sparsity_config");
    const std::string format = compression->value("format", nlohmann::ordered_json("dense")).dump();
    const bool is_plain = format == "\"dense\"" || format.find("\"sparse-") == 0;
    const auto groups = compression->find("config_groups");
    const bool is_quantized = groups != compression->end() && groups->is_object() && !groups->empty();
    if (is_plain && !is_quantized) config.erase(key);
  }
  return config.dump(2) + "\n";
}

}  // namespace prune
