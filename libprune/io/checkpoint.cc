#include "libprune/io/checkpoint.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "libprune/io/folder.h"
#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kModelName = "model.safetensors";
constexpr std::string_view kConfigName = "config.json";
constexpr std::string_view kWeightMap = "weight_map";

void check_shard_name(const std::string& name, const std::string& where) {
  const bool is_plain =
      !name.empty() && name != "." && name != ".." && name.find_first_of({"/\\\0", 3}) == name.npos;
  if (!is_plain) throw_input(where + ": shard name " + quote_name(name) + " is not a plain file name");
}

// Names of the entries of `folder` that end in one of `endings`, sorted.
std::vector<std::string> names_ending_in(const fs::path& folder,
                                         std::initializer_list<std::string_view> endings) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().native();
    const bool matches =
        std::any_of(endings.begin(), endings.end(), [&](auto e) { return name.ends_with(e); });
    if (matches) names.push_back(name);
  }
  if (error) throw_input(shown(folder) + ": cannot be read: " + system_reason(error.value()));
  std::sort(names.begin(), names.end());
  return names;
}

std::string list(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::string out;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i)
    out += (i > 0 ? ", " : "") + quote_name(names[i]);
  if (names.size() > kShown) out += ", ...";
  return out;
}

// The one *.safetensors file of a folder that has neither an index nor a model.safetensors.
std::string only_safetensors_name(const fs::path& folder) {
  const std::vector<std::string> names = names_ending_in(folder, {".safetensors"});
  if (names.size() == 1) return names[0];
  if (names.size() > 1) {
    throw_input(shown(folder) + ": " + std::to_string(names.size()) + " safetensors files (" + list(names) +
                ") without " + std::string(kIndexFile) + ": name one of them, or add the index");
  }
  const std::vector<std::string> others =
      names_ending_in(folder, {".bin", ".pt", ".pth", ".gguf", ".h5", ".onnx"});
  if (!others.empty()) {
    throw_input(shown(folder) + ": no safetensors file, but " + list(others) +
                ": convert the weights to safetensors");
  }
  throw_input(shown(folder) + ": no safetensors file: not a model folder");
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& path) : path_(tidy_absolute(path)) {
  std::error_code ignored;
  is_single_file_ = !fs::is_directory(path_, ignored);
  if (is_single_file_) {
    shards_.emplace_back(path_);
    build_name_table();
  } else {
    open_folder();
  }
}

void Checkpoint::open_folder() {
  read_config();
  if (is_there(path_ / kIndexFile)) {
    open_indexed_shards();
  } else if (is_there(path_ / kModelName)) {
    open_shards({std::string(kModelName)});
  } else {
    open_shards({only_safetensors_name(path_)});
  }
}

void Checkpoint::read_config() {
  const fs::path config_path = path_ / kConfigName;
  if (!is_there(config_path)) return;
  config_ = read_json_file(config_path);
  if (!config_->is_object()) throw_input(shown(config_path) + ": must be a JSON object");
}

void Checkpoint::open_indexed_shards() {
  index_file_.emplace(path_ / kIndexFile);
  const JsonDocument index(json_text_of(*index_file_), shown_index());
  const std::vector<std::string> names = shard_names_of_index(index.root(), shown_index());
  if (is_there(path_ / kModelName) && !std::ranges::binary_search(names, kModelName)) {
    throw_input(shown(path_) + ": holds both " + std::string(kModelName) +
                " and an index of other shards: remove one");
  }
  open_shards(names);
  check_index(*index.root().find(kWeightMap));
}

void Checkpoint::open_shards(const std::vector<std::string>& names) {
  shards_.reserve(names.size());
  for (const std::string& name : names) {
    const fs::path shard_path = path_ / name;
    if (has_index() && !is_there(shard_path)) {
      throw_input(shown_index() + ": shard " + quote_name(name) + " does not exist");
    }
    shards_.emplace_back(shard_path);
  }
  build_name_table();
}

void Checkpoint::build_name_table() {
  size_t count = 0;
  for (const SafetensorsFile& shard : shards_) count += shard.tensors().size();
  by_name_ = NameTable<TensorRef>(count);
  for (size_t shard = 0; shard < shards_.size(); ++shard) {
    const std::vector<TensorInfo>& tensors = shards_[shard].tensors();
    for (size_t i = 0; i < tensors.size(); ++i) {
      const TensorRef* other = by_name_.insert(tensors[i].name, TensorRef{shard, i});
      if (other != nullptr) {
        throw_input(shown(shards_[shard].path()) + ": tensor " + quote_name(tensors[i].name) + " is in " +
                    quote_name(shard_name(other->shard)) + " too");
      }
    }
  }
}

void Checkpoint::check_index(const JsonValue& weight_map) const {
  std::vector<std::string> files;
  for (size_t shard = 0; shard < shards_.size(); ++shard) files.push_back(shard_name(shard));
  for (const JsonValue& entry : weight_map) {
    const std::string_view name = entry.key(), file = entry.text();
    const TensorRef* found = by_name_.find(name);
    if (found == nullptr)
      throw_input(shown_index() + ": tensor " + quote_name(name) + " is not in shard " + quote_name(file));
    if (files[found->shard] != file) {
      throw_input(shown_index() + ": tensor " + quote_name(name) + " is said to be in shard " +
                  quote_name(file) + ", but is in " + quote_name(files[found->shard]));
    }
  }
  if (weight_map.size() == by_name_.size()) return;
  // Every name of the index is a tensor's, each once: some tensor has none.
  NameTable<bool> indexed(weight_map.size());
  for (const JsonValue& entry : weight_map) indexed.insert(entry.key(), true);
  for (const SafetensorsFile& shard : shards_) {
    for (const TensorInfo& tensor : shard.tensors()) {
      if (indexed.find(tensor.name) != nullptr) continue;
      throw_input(shown(shard.path()) + ": tensor " + quote_name(tensor.name) + " is not in the index");
    }
  }
}

std::string Checkpoint::shown_index() const { return shown(path_ / kIndexFile); }

std::string Checkpoint::shard_name(size_t shard) const { return shards_[shard].path().filename().native(); }

std::optional<TensorRef> Checkpoint::find(std::string_view name) const {
  const TensorRef* found = by_name_.find(name);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

uint64_t Checkpoint::tensor_bytes() const {
  uint64_t sum = 0;
  for (const SafetensorsFile& shard : shards_) sum += shard.file_size() - shard.data_start();
  return sum;
}

std::vector<fs::path> Checkpoint::other_files() const {
  if (is_single_file_) return {};
  std::set<fs::path> shard_names;
  for (size_t i = 0; i < shards_.size(); ++i) shard_names.insert(shard_name(i));
  std::vector<fs::path> files = files_below(path_);
  std::erase_if(files, [&](const fs::path& file) { return shard_names.contains(file); });
  return files;
}

bool Checkpoint::looks_like_weights(const fs::path& file) {
  constexpr std::array<std::string_view, 9> kExtensions = {".bin",  ".pt",      ".pth",  ".ckpt",       ".h5",
                                                           ".gguf", ".msgpack", ".onnx", ".safetensors"};
  return std::find(kExtensions.begin(), kExtensions.end(), file.extension().native()) != kExtensions.end();
}

std::vector<std::string> shard_names_of_index(const JsonValue& index, const std::string& where) {
  const JsonValue* weight_map = index.find(kWeightMap);
  if (weight_map == nullptr || !weight_map->is_object() || weight_map->size() == 0) {
    throw_input(where + ": has no weight_map from tensors to shards");
  }
  const JsonValue* metadata = index.find("metadata");
  if (metadata != nullptr && !metadata->is_object() && metadata->kind() != JsonKind::kNull) {
    throw_input(where + ": metadata must be a JSON object");
  }
  std::vector<std::string_view> names;  // one for each tensor: too many to copy
  for (const JsonValue& shard : *weight_map) {
    if (!shard.is_string())
      throw_input(where + ": shard of tensor " + quote_name(shard.key()) + " must be a string");
    names.push_back(shard.text());
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::vector<std::string> shards(names.begin(), names.end());
  for (const std::string& shard : shards) check_shard_name(shard, where);
  return shards;
}

}  // namespace prune
