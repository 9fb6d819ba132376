#include "libprune/model/structured/cut_checkpoint.h"

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "libprune/io/mapped_file.h"
#include "libprune/io/staging.h"
#include "libprune/model/data_order.h"
#include "libprune/model/structured/config_edit.h"
#include "libprune/model/structured/tensor_cut.h"

namespace prune {
namespace {

constexpr const char* kConfigFile = "config.json";
constexpr int kBitsOfByte = 8;

// One shard: what is left of its tensors, in the order of its data.
class ShardCut {
 public:
  ShardCut(const SafetensorsFile& shard, const TensorCuts& cuts, const ChangedTensors& changed)
      : shard_(shard), changed_(changed) {
    for (const size_t i : data_order(shard)) {
      TensorCut cut = cuts.of(shard.tensors()[i].name);
      if (cut.stays()) kept_.push_back({&shard.tensors()[i], std::move(cut)});
    }
  }

  bool is_empty() const { return kept_.empty(); }

  // Of all that decides its bytes beside the checkpoint.
  std::string fingerprint() const {
    std::string facts;
    const auto add = [&](const void* data, size_t bytes) {
      const size_t hash = std::hash<std::string_view>()({static_cast<const char*>(data), bytes});
      facts += ' ' + std::to_string(hash);
    };
    for (const Kept& kept : kept_) {
      facts += ' ' + kept.cut.name;
      for (const auto& units : {kept.cut.rows, kept.cut.columns}) {
        facts += ',';
        if (units) add(units->data(), units->size() * sizeof(int64_t));
      }
      if (const auto changed = changed_.find(kept.tensor->name); changed != changed_.end())
        add(changed->second.data(), changed->second.size());
    }
    return std::to_string(std::hash<std::string>()(facts));
  }

  nlohmann::json write(const std::filesystem::path& to, ProgressCounter& progress) const {
    std::vector<TensorInfo> tensors;
    for (const Kept& kept : kept_) {
      TensorInfo info;
      info.name = kept.cut.name;
      info.dtype = kept.tensor->dtype;
      info.shape = kept.cut.shape(kept.tensor->shape);
      tensors.push_back(std::move(info));
    }
    SafetensorsWriter writer(to, std::move(tensors), shard_.metadata());
    uint64_t parameters = 0;
    for (size_t i = 0; i < kept_.size(); ++i) {
      check_interrupted();
      write_tensor(kept_[i], writer, i);
      parameters += uint64_t(writer.tensors()[i].numel());
      progress.add(kept_[i].tensor->size_bytes(), kept_[i].tensor->name);
    }
    writer.finish();
    nlohmann::json note = shard_note(writer);
    note["parameters"] = parameters;
    return note;
  }

 private:
  struct Kept {
    const TensorInfo* tensor;
    TensorCut cut;
  };

  void write_tensor(const Kept& kept, SafetensorsWriter& writer, size_t index) const {
    const TensorInfo& tensor = *kept.tensor;
    const std::span<const std::byte> bytes = shard_.data(tensor);
    if (const auto changed = changed_.find(tensor.name); changed != changed_.end()) {
      writer.write(index, 0, changed->second);
    } else if (kept.cut.is_whole()) {
      writer.write(index, 0, bytes);
    } else {
      writer.write(index, 0,
                   cut_bytes(bytes, tensor.shape, size_t(bits(tensor.dtype) / kBitsOfByte), kept.cut));
    }
    shard_.map().done_with(shard_.data_start() + tensor.begin, tensor.size_bytes());
  }

  const SafetensorsFile& shard_;
  const ChangedTensors& changed_;
  std::vector<Kept> kept_;
};

}  // namespace

std::string new_config(const Decoder& decoder, const Cut& cut) {
  const MappedFile file(decoder.checkpoint().path() / kConfigFile);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  return cut_config_text(text, decoder.config(), cut);
}

CutFiles write_cut(const Decoder& decoder, const Cut& cut, const ChangedTensors& changed,
                   Repacking& repacking) {
  const Checkpoint& checkpoint = decoder.checkpoint();
  repacking.replace(kConfigFile, new_config(decoder, cut));
  const TensorCuts cuts(decoder, cut);
  CutFiles files;
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    files.model_bytes += checkpoint.shards()[shard].file_size();
    const ShardCut shard_cut(checkpoint.shards()[shard], cuts, changed);
    if (shard_cut.is_empty()) {
      repacking.leave_out(shard);
      continue;
    }
    const auto write = [&](const auto& to) { return shard_cut.write(to, repacking.progress()); };
    const nlohmann::json note = repacking.shard(shard, write, shard_cut.fingerprint());
    files.bytes += note.at("file_bytes").get<uint64_t>();
    files.tensors += note.at("tensors").size();
  }
  repacking.finish();
  return files;
}

}  // namespace prune
