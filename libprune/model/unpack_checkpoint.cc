#include "libprune/model/unpack_checkpoint.h"

#include <chrono>
#include <utility>
#include <vector>

#include <prune/error.h>

#include "libprune/io/text.h"
#include "libprune/model/data_order.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/job.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/parallel.h"
#include "libprune/model/repacking.h"
#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

class ShardUnpacker {
 public:
  ShardUnpacker(const PackedCheckpoint& packed, size_t shard, int threads)
      : packed_(packed), shard_(packed.checkpoint().shards()[shard]), threads_(threads) {}

  nlohmann::json run(const std::filesystem::path& to, ProgressCounter& progress) {
    std::vector<TensorInfo> tensors;
    std::vector<Source> sources;
    for (const size_t i : data_order(shard_)) {
      const TensorInfo& tensor = shard_.tensors()[i];
      const PackedWeight* weight = packed_.owner(tensor.name);
      if (weight == nullptr) {
        sources.push_back({&tensor, nullptr});
        tensors.push_back(tensor);
      } else if (tensor.name == weight->tensor + ".values") {
        sources.push_back({&tensor, weight});
        tensors.push_back(dense_tensor(*weight));
      }
    }
    SafetensorsWriter writer(to, std::move(tensors), without_packed_keys(shard_.metadata()));
    const auto bytes = [&](size_t i) {
      return sources[i].weight ? packed_.unpacking_bytes(*sources[i].weight) : 0;
    };
    parallel_for(sources.size(), threads_, bytes, [&](size_t i) {
      check_interrupted();
      write(sources[i], writer, i);
      progress.add(sources[i].tensor->size_bytes(), sources[i].tensor->name);
    });
    writer.finish();
    return shard_note(writer);
  }

 private:
  struct Source {
    const TensorInfo* tensor;
    const PackedWeight* weight;  // nullptr: copied
  };

  static TensorInfo dense_tensor(const PackedWeight& weight) {
    TensorInfo info;
    info.name = weight.tensor;
    info.dtype = weight.dtype;
    info.shape = weight.dense_shape();
    return info;
  }

  void write(const Source& source, SafetensorsWriter& writer, size_t index) const {
    if (source.weight == nullptr) return writer.write(index, 0, shard_.data(*source.tensor));
    visit_dtype(source.weight->dtype, [&]<class T>() {
      Matrix<T> dense = packed_.unpack<T>(*source.weight);
      if (source.weight->orientation == Orientation::kInOut) dense = Matrix<T>(dense.transpose());
      writer.write(index, 0, std::as_bytes(std::span(dense.data(), size_t(dense.size()))));
    });
  }

  const PackedCheckpoint& packed_;
  const SafetensorsFile& shard_;
  int threads_;
};

}  // namespace

PackReport unpack_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& output,
                             StagingOptions staging, int threads, const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  if (!PackedCheckpoint::is_packed(checkpoint)) throw_input(shown(checkpoint.path()) + ": is not packed");
  const PackedCheckpoint packed(checkpoint);
  Repacking repacking(checkpoint, output, describe_job("unpack", checkpoint, nlohmann::json::object()),
                      std::move(staging), progress, checkpoint.tensor_bytes());
  PackReport report;
  report.model = checkpoint.path().string();
  report.output = output.string();
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    ShardUnpacker unpacker(packed, shard, threads);
    const nlohmann::json note =
        repacking.shard(shard, [&](const auto& to) { return unpacker.run(to, repacking.progress()); });
    report.packed_model_bytes += checkpoint.shards()[shard].file_size();
    report.model_bytes += note.at("file_bytes").get<uint64_t>();
  }
  repacking.finish();
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace prune
