// Models with logits that Hugging Face transformers computed from them in float32.
#pragma once

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "libprune/io/safetensors.h"

namespace prune::testing {

inline std::filesystem::path source_folder() { return PRUNE_SOURCE; }

// Trained models and model families that are not part of the repository.
inline std::optional<std::filesystem::path> shared_folder() {
  const char* folder = std::getenv("PRUNE_SHARED");
  return folder != nullptr && *folder != '\0' ? std::optional<std::filesystem::path>(folder) : std::nullopt;
}

// input_ids [sequences, length], logits [sequences, length, vocabulary], and hidden states by name.
class Golden {
 public:
  explicit Golden(const std::filesystem::path& path) : file_(path) {
    const TensorInfo& tensor = *file_.find("input_ids");
    sequences = tensor.shape.at(0);
    length = tensor.shape.at(1);
    for (const int64_t id : values<int64_t>("input_ids")) ids.push_back(int32_t(id));
  }

  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  template <class T>
  std::vector<T> values(const std::string& name) const {
    const auto bytes = file_.data(*file_.find(name));
    std::vector<T> result(bytes.size() / sizeof(T));
    std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }

  int64_t sequences = 0;
  int64_t length = 0;
  std::vector<int32_t> ids;

 private:
  SafetensorsFile file_;
};

}  // namespace prune::testing
