// What packing, unpacking and cutting a checkpoint share: files copied, shards written one by one, the index
// made new, all put in place at once.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"
#include "libprune/model/progress.h"

namespace prune {

class Repacking {
 public:
  // `job` describes the whole work (see Staging); `progress_bytes` is all that progress() will be told.
  Repacking(const Checkpoint& checkpoint, const std::filesystem::path& output, const nlohmann::json& job,
            StagingOptions options, const Progress& progress, uint64_t progress_bytes);

  ProgressCounter& progress() { return progress_; }

  // Writes shard number `shard` by calling write(path) -> a note that holds those of shard_note(), unless a
  // run before did. Gives the note. Where the job does not decide every bit of the shard, as where sums
  // depend on the number of threads, `fingerprint` tells shards apart: one of another is written again.
  template <class Write>
  nlohmann::json shard(size_t shard, Write&& write, const std::string& fingerprint = "") {
    check_interrupted();
    const std::string name = checkpoint_.shard_name(shard);
    discard_unlike(name, fingerprint);
    if (!staging_.is_done(name)) {
      const std::filesystem::path path = staging_.path_for(name);
      nlohmann::json note = write(path);
      note[kFingerprint] = fingerprint;
      copy_permissions(checkpoint_.shards()[shard].path(), path);
      staging_.commit(name, note);
    }
    nlohmann::json note = staging_.note(name);
    for (const auto& tensor : note.at("tensors")) weight_map_[tensor.get<std::string>()] = name;
    total_size_ += note.at("bytes").get<uint64_t>();
    parameters_ += note.value("parameters", uint64_t(0));
    return note;
  }

  // Nothing is left of this shard.
  void leave_out(size_t shard) { staging_.discard(checkpoint_.shard_name(shard)); }

  // Another text for one of the other files.
  void replace(const std::string& file, std::string text) { replaced_[file] = std::move(text); }

  // Copies the other files, writes the index where there was one, and puts the result in place.
  void finish();

 private:
  static constexpr const char* kFingerprint = "fingerprint";

  void discard_unlike(const std::string& file, const std::string& fingerprint);

  const Checkpoint& checkpoint_;
  Staging staging_;
  ProgressCounter progress_;
  nlohmann::json weight_map_ = nlohmann::json::object();
  uint64_t total_size_ = 0;
  uint64_t parameters_ = 0;  // where notes count them
  std::map<std::string, std::string> replaced_;
};

// What Repacking must know of a shard that was written: names and bytes of its tensors, bytes of the file.
nlohmann::json shard_note(const SafetensorsWriter& writer);

// The metadata of a file but for what says that it is packed.
Metadata without_packed_keys(const Metadata& metadata);

}  // namespace prune
