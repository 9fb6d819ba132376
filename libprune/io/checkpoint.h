// A Hugging Face checkpoint: a folder with config.json and one or more safetensors files, or one file alone.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "libprune/io/json.h"
#include "libprune/io/json_document.h"
#include "libprune/io/mapped_file.h"
#include "libprune/io/name_table.h"
#include "libprune/io/safetensors.h"

namespace prune {

inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";

struct TensorRef {
  size_t shard = 0;   // index into Checkpoint::shards()
  size_t tensor = 0;  // index into SafetensorsFile::tensors()
};

class Checkpoint {
 public:
  // Opens and checks everything but the tensors' values. A folder must hold model.safetensors.index.json (its
  // weight_map names the shards; a name with '/' or '\\', "." and ".." are refused), or model.safetensors, or
  // exactly one
  // *.safetensors file; otherwise says what it found. An index beside a model.safetensors that it does not
  // name is refused: readers disagree about which one is the model. Index and shards must agree tensor by
  // tensor, and no two shards may hold the same name. config.json, if there, must be a JSON object. Links are
  // followed everywhere (a download cache is a folder of links). Throws Error(kInput).
  explicit Checkpoint(const std::filesystem::path& path);

  bool is_single_file() const { return is_single_file_; }
  const std::filesystem::path& path() const { return path_; }  // as given, made absolute and lexically normal
  const std::vector<SafetensorsFile>& shards() const { return shards_; }  // sorted by file name
  std::string shard_name(size_t shard) const;                             // file name without folder
  const nlohmann::json* config() const { return config_ ? &*config_ : nullptr; }
  bool has_index() const { return index_file_.has_value(); }
  nlohmann::json index() const { return parse_json(json_text_of(*index_file_), shown_index()); }  // if there

  const TensorInfo& tensor(TensorRef ref) const { return shards_[ref.shard].tensors()[ref.tensor]; }
  std::span<const std::byte> data(TensorRef ref) const { return shards_[ref.shard].data(tensor(ref)); }
  std::optional<TensorRef> find(std::string_view name) const;
  uint64_t tensor_bytes() const;  // sum over all tensors

  // Every file below the folder that is no shard (config.json and the index are among them), links followed,
  // relative paths in sorted order: what a copy of the model must carry along. Version-control and
  // download-cache folders (.git, .cache, .huggingface) are left out, and so are unfinished outputs. Empty
  // for a single file. Throws Error(kInput) for what cannot be copied: a FIFO, a socket, a device, a dangling
  // link, a link to a folder that it lies in.
  std::vector<std::filesystem::path> other_files() const;
  // Those of other_files() that hold weights of their own in another format (*.bin, *.pt, *.pth, *.ckpt,
  // *.h5, *.msgpack,
  // *.gguf, *.onnx, other *.safetensors): they are copied as they are, which the caller should say.
  static bool looks_like_weights(const std::filesystem::path& file);

 private:
  void open_folder();
  void read_config();
  void open_indexed_shards();
  void open_shards(const std::vector<std::string>& names);
  void check_index(const JsonValue& weight_map) const;
  void build_name_table();
  std::string shown_index() const;

  std::filesystem::path path_;
  bool is_single_file_ = false;
  std::vector<SafetensorsFile> shards_;
  std::optional<nlohmann::json> config_;
  std::optional<MappedFile> index_file_;
  NameTable<TensorRef> by_name_;  // of the shards' names, which stay where they are
};

// The shards that an index names, sorted, each once. Throws Error(kInput) when `index` has no usable
// weight_map, or a shard's name is not a plain file name.
std::vector<std::string> shard_names_of_index(const JsonValue& index, const std::string& where);

}  // namespace prune
