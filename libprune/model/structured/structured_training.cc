// How StructuredPruner trains what is left of a layer, and keeps it.
#include <algorithm>
#include <string>
#include <vector>

#include "libprune/model/calibrated/matrix_pruner.h"
#include "libprune/model/calibrated/reconstruction.h"
#include "libprune/model/structured/structured_layer.h"
#include "libprune/model/structured/tensor_cut.h"

namespace prune {
namespace {

Mask all_kept(Index rows, Index cols) {
  Mask mask(rows, cols);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols; ++j) mask.set(i, j, true);
  }
  return mask;
}

}  // namespace

// Half of the steps for the layer alone, half together with the one before; the pruned stream ends up after
// both.
void StructuredPruner::train(Layer& work) {
  if (!dense_.empty()) {
#pragma omp parallel for
    for (size_t i = 0; i < targets_.size(); ++i) targets_[i] += float(follow_) * (dense_[i] - targets_[i]);
  }
  if (previous_) {
    pass(*previous_, previous_inputs_, pruned_);
  } else {
    std::ranges::copy(previous_inputs_, pruned_.begin());
  }
  Layer* const both[] = {previous_.get(), &work};
  train({&both[1], 1}, pruned_);
  if (previous_) {
    train(both, previous_inputs_);
    store(*previous_);
    pass(*previous_, previous_inputs_, previous_inputs_);
  }
  store(work);
  pass(work, previous_inputs_, pruned_);
}

void StructuredPruner::train(std::span<Layer* const> layers, std::span<const float> inputs) {
  const auto size = size_t(text_.length * decoder_.config().width);
  const auto read = [&](int64_t s, float* x, float* t) {
    check_interrupted();
    std::ranges::copy(inputs.subspan(size_t(s) * size, size), x);
    std::ranges::copy(targets_.subspan(size_t(s) * size, size), t);
  };
  std::vector<ReconstructedLayer> trained;
  for (Layer* layer : layers) {
    trained.push_back({.layer = layer->left, .masks = {}});
    for (const Linear* linear : layer->left.linears())
      trained.back().masks.push_back(all_kept(linear->out, linear->in));
  }
  ReconstructionOptions options;
  options.steps = std::max<int64_t>(1, options_.calibration.steps / 2);
  options.batch = options_.calibration.batch;
  options.learning_rate = options_.calibration.learning_rate;
  options.trains_biases = true;
  const ReconstructionResult result = reconstruct_layers(trained, rope_, {fit_, text_.length, read}, options);
  if (layers.size() > 1) return;
  layers[0]->report.loss_before = result.error_before;
  layers[0]->report.loss_after = result.error_after;
}

void StructuredPruner::pass(const Layer& work, std::span<const float> from, std::span<float> to) {
  for_each_batch([&](std::span<float> pruned, std::span<float>, const Sequences& sequences, bool) {
    const auto begin = pruned.data() - pruned_.data();
    forward_layer(work.left, rope_, sequences, from.data() + begin, to.data() + begin, activations_);
  });
}

void StructuredPruner::store(Layer& work) {
  for (Linear* linear : work.left.linears()) store(work, *linear);
}

// Rounds a layer's weights, and bias, to the types of the file, and keeps their bytes.
void StructuredPruner::store(const Layer& work, Linear& linear) {
  const Cut cut{{work.cut}};
  const TensorCuts cuts(decoder_, cut);
  const auto keep = [&](const std::string& name, const View<float>& values, Orientation orientation) {
    const auto ref = decoder_.checkpoint().find(name);
    const TensorInfo& tensor = decoder_.checkpoint().tensor(*ref);
    const std::vector<std::byte> before = cut_bytes(decoder_.checkpoint().data(*ref), tensor.shape,
                                                    size_t(bits(tensor.dtype) / 8), cuts.of(name));
    std::span<std::byte>& after = changed_[name];
    if (after.empty()) after = results_->take_in_file(before.size());
    TensorReport unused;
    store_matrix({tensor.dtype, orientation, before, after}, values, unused);
    results_->done_with(after);
  };
  keep(linear.weight_name, view(linear.weight.data(), linear.out, linear.in), linear.orientation);
  if (linear.bias.empty()) return;
  const std::string module = linear.weight_name.substr(0, linear.weight_name.rfind('.'));
  keep(module + ".bias", view(linear.bias.data(), 1, linear.out), Orientation::kOutIn);
}

}  // namespace prune
