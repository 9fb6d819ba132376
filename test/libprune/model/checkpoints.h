// Small checkpoints for tests, written by hand rather than by the library.
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "libprune/io/checkpoint.h"
#include "test/libprune/include/values.h"
#include "test/libprune/io/files.h"

namespace prune::testing {

struct TestTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

template <class T>
std::string dtype_name() {
  if constexpr (std::is_same_v<T, double>) return "F64";
  if constexpr (std::is_same_v<T, float>) return "F32";
  if constexpr (std::is_same_v<T, f16>) return "F16";
  if constexpr (std::is_same_v<T, bf16>) return "BF16";
  if constexpr (std::is_same_v<T, f8_e4m3>) return "F8_E4M3";
  if constexpr (std::is_same_v<T, f8_e5m2>) return "F8_E5M2";
  if constexpr (std::is_same_v<T, uint8_t>) return "U8";
  if constexpr (std::is_same_v<T, int8_t>) return "I8";
  if constexpr (std::is_same_v<T, int32_t>) return "I32";
  if constexpr (std::is_same_v<T, int64_t>) return "I64";
}

template <class T>
std::string bytes_of(const T* values, size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(T)};
}

// A matrix as a tensor of its own shape.
template <class T>
TestTensor tensor_of(std::string name, const Matrix<T>& matrix) {
  return {std::move(name),
          dtype_name<T>(),
          {matrix.rows(), matrix.cols()},
          bytes_of(matrix.data(), size_t(matrix.size()))};
}

template <class T>
TestTensor list_of(std::string name, const std::vector<T>& values) {
  return {std::move(name), dtype_name<T>(), {int64_t(values.size())}, bytes_of(values.data(), values.size())};
}

// A file in the usual spelling: no spaces, keys in the order of the data, padded with spaces to a multiple of
// 8 bytes and then by `extra_spaces` more, which shift the data off its alignment.
inline std::string file_of(const std::vector<TestTensor>& tensors,
                           const std::string& metadata = R"({"format":"pt"})", size_t extra_spaces = 0,
                           std::vector<size_t> data_order = {}) {
  if (data_order.empty()) {
    data_order.resize(tensors.size());
    std::iota(data_order.begin(), data_order.end(), size_t{0});
  }
  std::vector<size_t> begins(tensors.size());
  std::string data;
  for (const size_t i : data_order) {
    begins[i] = data.size();
    data += tensors[i].bytes;
  }
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = nlohmann::ordered_json::parse(metadata);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TestTensor& t = tensors[i];
    header[t.name]["dtype"] = t.dtype;
    header[t.name]["shape"] = t.shape;
    header[t.name]["data_offsets"] = {begins[i], begins[i] + t.bytes.size()};
  }
  std::string json = header.is_null() ? "{}" : header.dump();
  json.resize((json.size() + 7) / 8 * 8 + extra_spaces, ' ');
  return safetensors(json, data);
}

inline std::string config_of(const std::string& model_type) {
  return R"({ "model_type": ")" + model_type + "\" }\n";
}

// A model folder of one file. Files beside it must survive every pass.
inline void write_model(const std::filesystem::path& folder, const std::string& model_type,
                        const std::vector<TestTensor>& tensors, size_t extra_spaces = 0) {
  write_file(folder / "config.json", config_of(model_type));
  write_file(folder / "assets/tokenizer.json", "{\"anything\":  [1]}\n");
  write_file(folder / "model.safetensors", file_of(tensors, R"({"format":"pt"})", extra_spaces));
}

// A model folder of several shards, with an index as Hugging Face writes it.
inline void write_shards(const std::filesystem::path& folder, const std::string& model_type,
                         const std::vector<std::vector<TestTensor>>& shards) {
  nlohmann::json index;
  uint64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        "model-0000" + std::to_string(i + 1) + "-of-0000" + std::to_string(shards.size()) + ".safetensors";
    write_file(folder / name, file_of(shards[i]));
    for (const TestTensor& t : shards[i]) {
      index["weight_map"][t.name] = name;
      total += t.bytes.size();
    }
  }
  index["metadata"]["total_size"] = total;
  write_file(folder / "config.json", config_of(model_type));
  write_file(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

// The bytes of every file below a folder, by relative path.
inline std::map<std::string, std::string> contents_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_directory())
      contents[std::filesystem::relative(entry.path(), folder).native()] = read_file(entry.path());
  }
  return contents;
}

// "" when both folders hold the same files, else the first that differs.
inline std::string folder_difference(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto left = contents_of(a);
  const auto right = contents_of(b);
  for (const auto& [name, bytes] : left) {
    const auto found = right.find(name);
    if (found == right.end()) return name + " is missing";
    if (found->second != bytes) return name + " differs";
  }
  for (const auto& [name, bytes] : right) {
    if (!left.contains(name)) return name + " is new";
  }
  return "";
}

// A 2-D tensor of a checkpoint as it lies in the file.
template <class T>
Matrix<T> matrix_in(const Checkpoint& checkpoint, const std::string& name) {
  const auto ref = checkpoint.find(name);
  if (!ref) throw std::runtime_error("no tensor " + name);
  const TensorInfo& tensor = checkpoint.tensor(*ref);
  if (prune::name(tensor.dtype) != dtype_name<T>() || tensor.shape.size() != 2)
    throw std::runtime_error("another type or rank: " + name);
  Matrix<T> matrix(tensor.shape[0], tensor.shape[1]);
  const auto bytes = checkpoint.data(*ref);
  if (!bytes.empty()) std::memcpy(static_cast<void*>(matrix.data()), bytes.data(), bytes.size());
  return matrix;
}

// Halves up to 2 of either sign, both zeros: in every type, many ties, exact sums and squares.
template <class T>
Matrix<T> small_weights(Index rows, Index cols, std::mt19937& rng) {
  const T values[] = {exactly<T>(0),  exactly<T>(-0.0), exactly<T>(0.5), exactly<T>(-0.5), exactly<T>(1),
                      exactly<T>(-1), exactly<T>(1.5),  exactly<T>(2),   exactly<T>(-1.5)};
  Matrix<T> weights(rows, cols);
  for (Index i = 0; i < weights.size(); ++i) weights.data()[i] = values[rng() % std::size(values)];
  return weights;
}

template <class T>
Matrix<T> transposed(const Matrix<T>& matrix) {
  Matrix<T> turned(matrix.cols(), matrix.rows());
  for (Index i = 0; i < matrix.rows(); ++i) {
    for (Index j = 0; j < matrix.cols(); ++j) turned(j, i) = matrix(i, j);
  }
  return turned;
}

}  // namespace prune::testing
