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
  } else {
    open_folder();
  }
  build_name_table();
  if (index_) check_index();
}

void Checkpoint::open_folder() {
  read_config();
  if (is_there(path_ / kIndexFile)) {
    open_shards(read_index(path_ / kIndexFile));
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

std::vector<std::string> Checkpoint::read_index(const fs::path& index_path) {
  index_ = read_json_file(index_path);
  std::vector<std::string> names = shard_names_of_index(*index_, shown(index_path));
  if (is_there(path_ / kModelName) && !std::binary_search(names.begin(), names.end(), kModelName)) {
    throw_input(shown(path_) + ": holds both " + std::string(kModelName) +
                " and an index of other shards: remove one");
  }
  return names;
}

void Checkpoint::open_shards(const std::vector<std::string>& names) {
  shards_.reserve(names.size());
  for (const std::string& name : names) {
    const fs::path shard_path = path_ / name;
    if (index_ && !is_there(shard_path)) {
      throw_input(shown(path_ / kIndexFile) + ": shard " + quote_name(name) + " does not exist");
    }
    shards_.emplace_back(shard_path);
  }
}

void Checkpoint::build_name_table() {
  for (size_t shard = 0; shard < shards_.size(); ++shard) {
    const std::vector<TensorInfo>& tensors = shards_[shard].tensors();
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto [entry, is_new] = by_name_.try_emplace(tensors[i].name, TensorRef{shard, i});
      if (!is_new) {
        throw_input(shown(shards_[shard].path()) + ": tensor " + quote_name(tensors[i].name) + " is in " +
                    quote_name(shard_name(entry->second.shard)) + " too");
      }
    }
  }
}

void Checkpoint::check_index() const {
  const nlohmann::json& weight_map = index_->at("weight_map");
  const std::string where = shown(path_ / kIndexFile);
  for (const auto& [name, shard] : weight_map.items()) {
    const auto& file = shard.get_ref<const std::string&>();
    const std::optional<TensorRef> found = find(name);
    if (!found) throw_input(where + ": tensor " + quote_name(name) + " is not in shard " + quote_name(file));
    if (shard_name(found->shard) != file) {
      throw_input(where + ": tensor " + quote_name(name) + " is said to be in shard " + quote_name(file) +
                  ", but is in " + quote_name(shard_name(found->shard)));
    }
  }
  for (const SafetensorsFile& shard : shards_) {
    for (const TensorInfo& tensor : shard.tensors()) {
      if (weight_map.contains(tensor.name)) continue;
      throw_input(shown(shard.path()) + ": tensor " + quote_name(tensor.name) + " is not in the index");
    }
  }
}

std::string Checkpoint::shard_name(size_t shard) const { return shards_[shard].path().filename().native(); }

std::optional<TensorRef> Checkpoint::find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
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

std::vector<std::string> shard_names_of_index(const nlohmann::json& index, const std::string& where) {
  const auto weight_map = index.is_object() ? index.find("weight_map") : index.end();
  if (weight_map == index.end() || !weight_map->is_object() || weight_map->empty()) {
    throw_input(where + ": has no weight_map from tensors to shards");
  }
  const auto metadata = index.find("metadata");
  if (metadata != index.end() && !metadata->is_object() && !metadata->is_null()) {
    throw_input(where + ": metadata must be a JSON object");
  }
  std::set<std::string> names;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string())
      throw_input(where + ": shard of tensor " + quote_name(tensor) + " must be a string");
    const auto& name = shard.get_ref<const std::string&>();
    check_shard_name(name, where);
    names.insert(name);
  }
  return {names.begin(), names.end()};
}

}  // namespace prune
