#include "apps/prune/profile_model.h"

#include "libprune/io/staging.h"
#include "libprune/model/parallel.h"
#include "libprune/model/tensor_visit.h"
#include "libprune/model/weight_selection.h"

namespace prune::app {
namespace {

struct Task {
  const TensorInfo* tensor = nullptr;  // dense
  const PackedWeight* packed = nullptr;
  size_t shard = 0;
  Orientation orientation = Orientation::kOutIn;
};

std::vector<Task> weights_of(const Checkpoint& checkpoint, const PackedCheckpoint* packed) {
  const WeightSelection selection(checkpoint);
  std::vector<Task> tasks;
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    for (const TensorInfo& tensor : checkpoint.shards()[shard].tensors()) {
      const WeightSelection::Choice choice = selection.choose(tensor);
      if (choice.chosen) tasks.push_back({&tensor, nullptr, shard, choice.orientation});
    }
  }
  if (packed != nullptr) {
    for (const PackedWeight& weight : packed->weights())
      tasks.push_back({nullptr, &weight, weight.shard, weight.orientation});
  }
  return tasks;
}

WeightProfile profile_dense(const Checkpoint& checkpoint, const Task& task) {
  const TensorInfo& tensor = *task.tensor;
  const SafetensorsFile& shard = checkpoint.shards()[task.shard];
  WeightProfile result{tensor.name, tensor.dtype, task.shard, "dense", tensor.size_bytes(), {}};
  visit_dtype(tensor.dtype, [&]<class T>() {
    const WeightMatrix<T> weights(shard.data(tensor), tensor.shape[0], tensor.shape[1], task.orientation);
    result.zeros = profile<T>(weights.view());
  });
  shard.map().done_with(shard.data_start() + tensor.begin, tensor.size_bytes());
  return result;
}

WeightProfile profile_packed(const PackedCheckpoint& packed, const PackedWeight& weight) {
  WeightProfile result{weight.tensor,           weight.dtype,         weight.shard,
                       format_in_words(weight), packed.bytes(weight), {}};
  visit_dtype(weight.dtype, [&]<class T>() {
    const Matrix<T> dense = packed.unpack<T>(weight);
    result.zeros = profile<T>(prune::view(dense));
  });
  return result;
}

size_t working_bytes(const Checkpoint& checkpoint, const PackedCheckpoint* packed, const Task& task) {
  if (task.packed) return packed->unpacking_bytes(*task.packed);
  const auto data = checkpoint.shards()[task.shard].data(*task.tensor);
  return copied_bytes(data, task.tensor->dtype, task.orientation);
}

}  // namespace

std::vector<WeightProfile> profile_weights(const Checkpoint& checkpoint, const PackedCheckpoint* packed,
                                           int threads, const Progress& progress) {
  const std::vector<Task> tasks = weights_of(checkpoint, packed);
  uint64_t total = 0;
  for (const Task& task : tasks)
    total += task.packed ? packed->bytes(*task.packed) : task.tensor->size_bytes();
  ProgressCounter counter(progress, total);
  std::vector<WeightProfile> profiles(tasks.size());
  const auto bytes = [&](size_t i) { return working_bytes(checkpoint, packed, tasks[i]); };
  parallel_for(tasks.size(), threads, bytes, [&](size_t i) {
    check_interrupted();
    profiles[i] =
        tasks[i].packed ? profile_packed(*packed, *tasks[i].packed) : profile_dense(checkpoint, tasks[i]);
    counter.add(profiles[i].bytes, profiles[i].name);
  });
  return profiles;
}

}  // namespace prune::app
