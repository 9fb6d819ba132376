#include "bench/checkpoint_masks.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <prune/error.h>

#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/tensor_visit.h"
#include "libprune/model/weight_selection.h"

namespace prune::bench {
namespace {

class MaskReader {
 public:
  template <class T>
  void add(const std::string& tensor, ConstView<T> weights) {
    Places places{{weights.rows(), weights.cols()}, {0}, {}};
    for (Index r = 0; r < weights.rows(); ++r) {
      for (Index k = 0; k < weights.cols(); ++k) {
        if (float(weights(r, k)) != 0) places.columns.push_back(static_cast<int32_t>(k));
      }
      places.indptr.push_back(static_cast<int64_t>(places.columns.size()));
    }
    const double all = double(weights.rows()) * double(weights.cols());
    const auto percent = int(std::lround(100 * (1 - double(places.count()) / all)));
    const std::string layer =
        tensor.ends_with(".weight") ? tensor.substr(0, tensor.size() - sizeof(".weight") + 1) : tensor;
    masks_.push_back({layer, std::move(places), percent});
  }
  // Whether a layer of this shape is still wanted.
  bool wants(Index out, Index in) { return seen_.emplace(out, in).second; }
  std::vector<LayerMask> take() { return std::move(masks_); }

 private:
  std::set<std::pair<Index, Index>> seen_;
  std::vector<LayerMask> masks_;
};

void read_packed(const Checkpoint& checkpoint, MaskReader& reader) {
  const PackedCheckpoint packed(checkpoint);
  for (const PackedWeight& weight : packed.weights()) {
    if (!reader.wants(weight.out, weight.in)) continue;
    visit_dtype(weight.dtype, [&]<class T>() {
      const Matrix<T> dense = packed.unpack<T>(weight);
      reader.add<T>(weight.tensor, view(dense.data(), dense.rows(), dense.cols()));
    });
  }
}

void read_dense(const Checkpoint& checkpoint, MaskReader& reader) {
  const WeightSelection selection(checkpoint);
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    for (const TensorInfo& tensor : shard.tensors()) {
      const auto choice = selection.choose(tensor);
      if (!choice.chosen) continue;
      const bool is_turned = choice.orientation == Orientation::kInOut;
      if (!reader.wants(tensor.shape[is_turned ? 1 : 0], tensor.shape[is_turned ? 0 : 1])) continue;
      visit_dtype(tensor.dtype, [&]<class T>() {
        const WeightMatrix<T> weight(shard.data(tensor), tensor.shape[0], tensor.shape[1],
                                     choice.orientation);
        reader.add<T>(tensor.name, weight.view());
      });
    }
  }
}

}  // namespace

std::vector<LayerMask> masks_of_checkpoint(const std::string& path) {
  const Checkpoint checkpoint(path);
  MaskReader reader;
  PackedCheckpoint::is_packed(checkpoint) ? read_packed(checkpoint, reader) : read_dense(checkpoint, reader);
  std::vector<LayerMask> masks = reader.take();
  if (masks.empty()) throw_input(path + ": holds no linear weight");
  if (std::ranges::all_of(masks, [](const LayerMask& m) { return m.percent == 0; }))
    throw_input(path + ": no weight is pruned: there is no mask to measure");
  return masks;
}

}  // namespace prune::bench
