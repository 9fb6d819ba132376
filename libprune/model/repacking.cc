#include "libprune/model/repacking.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include <prune/error.h>

#include "libprune/io/safetensors.h"
#include "libprune/io/text.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune {
namespace {

// The index of the new folder: the old one's other keys, and the new names.
nlohmann::json new_index(const nlohmann::json& old_index, const nlohmann::json& weight_map,
                         uint64_t total_size, uint64_t parameters) {
  nlohmann::json index = old_index;
  index["weight_map"] = weight_map;
  index["metadata"]["total_size"] = total_size;
  if (parameters > 0 && index["metadata"].contains("total_parameters"))
    index["metadata"]["total_parameters"] = parameters;
  return index;
}

void write_text(Staging& staging, const std::string& name, const std::string& text,
                const nlohmann::json& note = nullptr) {
  const std::filesystem::path path = staging.path_for(name);
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw_runtime(path.string() + ": can't be written");
  staging.commit(name, note);
}

StagingOptions with_input(StagingOptions options, const Checkpoint& checkpoint) {
  options.input = checkpoint.path();
  return options;
}

}  // namespace

Repacking::Repacking(const Checkpoint& checkpoint, const std::filesystem::path& output,
                     const nlohmann::json& job, StagingOptions options, const Progress& progress,
                     uint64_t progress_bytes)
    : checkpoint_(checkpoint),
      staging_(output, checkpoint.is_single_file(), job, with_input(std::move(options), checkpoint)),
      progress_(progress, progress_bytes) {}

void Repacking::discard_unlike(const std::string& file, const std::string& fingerprint) {
  const nlohmann::json note = staging_.note(file);
  if (note.is_object() && note.value(kFingerprint, "") != fingerprint) staging_.discard(file);
}

void Repacking::finish() {
  for (const std::filesystem::path& file : checkpoint_.other_files()) {
    check_interrupted();
    const auto text = replaced_.find(file.string());
    if (text != replaced_.end()) discard_unlike(text->first, text->second);
    if (file == kIndexFile || staging_.is_done(file.string())) continue;
    if (text != replaced_.end()) {
      write_text(staging_, text->first, text->second, {{kFingerprint, text->second}});
    } else {
      staging_.copy(checkpoint_.path() / file, file.string());
    }
  }
  // As Hugging Face writes it: two spaces, sorted keys, ASCII, a newline at the end.
  if (checkpoint_.has_index()) {
    const nlohmann::json index = new_index(checkpoint_.index(), weight_map_, total_size_, parameters_);
    write_text(staging_, std::string(kIndexFile), index.dump(2, ' ', true) + '\n');
  }
  check_interrupted();
  staging_.publish();
}

nlohmann::json shard_note(const SafetensorsWriter& writer) {
  nlohmann::json names = nlohmann::json::array();
  uint64_t bytes = 0;
  for (const TensorInfo& tensor : writer.tensors()) {
    names.push_back(tensor.name);
    bytes += tensor.size_bytes();
  }
  return {{"tensors", names}, {"bytes", bytes}, {"file_bytes", writer.file_size()}};
}

Metadata without_packed_keys(const Metadata& metadata) {
  Metadata kept;
  std::ranges::copy_if(metadata, std::back_inserter(kept), [](const auto& entry) {
    return entry.first != kLayoutKey && entry.first != kVersionKey;
  });
  return kept;
}

}  // namespace prune
