#include "libprune/model/unpack_checkpoint.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <utility>
#include <vector>

#include <prune/error.h>

#include "libprune/io/text.h"
#include "libprune/model/compressed_tensors.h"
#include "libprune/model/data_order.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/job.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/parallel.h"
#include "libprune/model/repacking.h"
#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

// A tensor of the dense file, and how it is made of those of the packed one.
struct Output {
  TensorInfo tensor;
  uint64_t read_bytes = 0;  // of the tensor that holds its values
  uint64_t memory = 0;      // that making it takes
  std::function<void(SafetensorsWriter&, size_t index)> write;
};

Output copied(const SafetensorsFile& shard, const TensorInfo& tensor) {
  return {tensor, tensor.size_bytes(), 0,
          [&](SafetensorsWriter& writer, size_t index) { writer.write(index, 0, shard.data(tensor)); }};
}

TensorInfo dense_tensor(const std::string& name, DType dtype, std::vector<int64_t> shape) {
  TensorInfo info;
  info.name = name;
  info.dtype = dtype;
  info.shape = std::move(shape);
  return info;
}

void write_dense(const PackedCheckpoint& packed, const PackedWeight& weight, SafetensorsWriter& writer,
                 size_t index) {
  visit_dtype(weight.dtype, [&]<class T>() {
    Matrix<T> dense = packed.unpack<T>(weight);
    if (weight.orientation == Orientation::kInOut) dense = Matrix<T>(dense.transpose());
    writer.write(index, 0, std::as_bytes(std::span(dense.data(), size_t(dense.size()))));
  });
}

std::vector<Output> outputs_of(const PackedCheckpoint& packed, const SafetensorsFile& shard) {
  std::vector<Output> outputs;
  // Not the order of the data, which `prune pack` chooses by types: that of the dense file is the header's.
  for (const TensorInfo& tensor : shard.tensors()) {
    const PackedWeight* weight = packed.owner(tensor.name);
    if (weight == nullptr) {
      outputs.push_back(copied(shard, tensor));
    } else if (tensor.name == weight->tensor + ".values") {
      outputs.push_back({dense_tensor(weight->tensor, weight->dtype, weight->dense_shape()),
                         tensor.size_bytes(), packed.unpacking_bytes(*weight),
                         [&packed, weight](SafetensorsWriter& writer, size_t index) {
                           write_dense(packed, *weight, writer, index);
                         }});
    }
  }
  return outputs;
}

std::vector<Output> outputs_of(const CompressedTensors& compressed, const SafetensorsFile& shard) {
  std::vector<Output> outputs;
  for (const size_t i : data_order(shard)) {
    const TensorInfo& tensor = shard.tensors()[i];
    if (const CompressedWeight* weight = compressed.of_values(tensor.name)) {
      outputs.push_back({dense_tensor(weight->tensor, weight->dtype, {weight->rows, weight->cols}),
                         tensor.size_bytes(), weight->dense_bytes(),
                         [&compressed, weight](SafetensorsWriter& writer, size_t index) {
                           writer.write(index, 0, compressed.unpack(*weight));
                         }});
    } else if (!compressed.is_other_part(tensor.name)) {
      outputs.push_back(copied(shard, tensor));
    }
  }
  return outputs;
}

nlohmann::json write_shard(const std::vector<Output>& outputs, const Metadata& metadata,
                           const std::filesystem::path& to, int threads, ProgressCounter& progress) {
  std::vector<TensorInfo> tensors;
  tensors.reserve(outputs.size());
  for (const Output& output : outputs) tensors.push_back(output.tensor);
  SafetensorsWriter writer(to, std::move(tensors), without_packed_keys(metadata));
  const auto memory = [&](size_t i) { return outputs[i].memory; };
  parallel_for(outputs.size(), threads, memory, [&](size_t i) {
    check_interrupted();
    outputs[i].write(writer, i);
    progress.add(outputs[i].read_bytes, outputs[i].tensor.name);
  });
  writer.finish();
  return shard_note(writer);
}

// Packed: PackedCheckpoint or CompressedTensors.
template <class Packed>
PackReport unpack_all(const Checkpoint& checkpoint, const Packed& packed, Repacking& repacking, int threads) {
  PackReport report;
  for (size_t i = 0; i < checkpoint.shards().size(); ++i) {
    const SafetensorsFile& shard = checkpoint.shards()[i];
    const nlohmann::json note = repacking.shard(i, [&](const auto& to) {
      return write_shard(outputs_of(packed, shard), shard.metadata(), to, threads, repacking.progress());
    });
    report.packed_model_bytes += shard.file_size();
    report.model_bytes += note.at("file_bytes").template get<uint64_t>();
  }
  repacking.finish();
  return report;
}

}  // namespace

PackReport unpack_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& output,
                             StagingOptions staging, int threads, const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  const bool compressed = !PackedCheckpoint::is_packed(checkpoint) && CompressedTensors::are_in(checkpoint);
  if (!compressed && !PackedCheckpoint::is_packed(checkpoint))
    throw_input(shown(checkpoint.path()) + ": is not packed");
  const auto make_repacking = [&] {
    return Repacking(checkpoint, output, describe_job("unpack", checkpoint, nlohmann::json::object()),
                     std::move(staging), progress, checkpoint.tensor_bytes());
  };
  PackReport report;
  if (compressed) {
    const CompressedTensors tensors(checkpoint);
    Repacking repacking = make_repacking();
    const std::filesystem::path config = checkpoint.path() / "config.json";
    if (std::filesystem::is_regular_file(config)) {
      const MappedFile file(config);
      const std::span<const std::byte> text = file.bytes();
      repacking.replace("config.json",
                        without_sparsity({reinterpret_cast<const char*>(text.data()), text.size()}));
    }
    report = unpack_all(checkpoint, tensors, repacking, threads);
  } else {
    const PackedCheckpoint packed(checkpoint);
    Repacking repacking = make_repacking();
    report = unpack_all(checkpoint, packed, repacking, threads);
  }
  report.model = checkpoint.path().string();
  report.output = output.string();
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace prune
