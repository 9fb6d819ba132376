#include "libprune/model/calibrated/calibrated_pruner.h"

#include <algorithm>
#include <utility>

#include <prune/error.h>
#include <prune/layer_error.h>

#include "libprune/io/staging.h"
#include "libprune/io/text.h"
#include "libprune/model/calibrated/allocation.h"
#include "libprune/model/calibrated/matrix_pruner.h"
#include "libprune/model/calibrated/own_text.h"
#include "libprune/model/calibrated/reconstruction.h"
#include "libprune/model/checkpoint_rewrite.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/gemm.h"

namespace prune {
namespace {

constexpr double kUsualFollow = 0.5;

// What the readers at a place read, of a layer without experts.
const FloatMatrix& inputs_at(const LayerActivations& activations, size_t place) {
  switch (place) {
    case 0:
      return activations.attention_input;
    case 1:
      return activations.context;
    case 2:
      return activations.feed_forward_input;
    default:
      return activations.experts[0].inner;
  }
}

bool adds_to_hidden_state(size_t place) { return place == 1 || place == 3; }

// The hidden state that outputs at such a place are added to; `x` is the layer's input.
const float* hidden_state_at(const LayerActivations& activations, const float* x, size_t place) {
  return place == 1 ? x : activations.middle.data();
}

// Attention comes first: places 0 and 1 see all tokens also where experts see theirs only.
bool sees_all_tokens(const DecoderConfig& config, size_t place) { return place < 2 || !config.has_experts(); }

std::map<std::string, const PlannedTensor*> planned_by_name(const Checkpoint& checkpoint,
                                                            const PrunePlan& plan) {
  std::map<std::string, const PlannedTensor*> planned;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.prune) planned[checkpoint.tensor(tensor.ref).name] = &tensor;
  }
  return planned;
}

}  // namespace

CalibratedPruner::CalibratedPruner(const Checkpoint& checkpoint, const PrunePlan& plan,
                                   std::filesystem::path folder)
    : CalibratedPruner(checkpoint, plan, *find_layer_method(plan.options.method), 0, std::move(folder)) {}

CalibratedPruner::CalibratedPruner(const Checkpoint& checkpoint, const PrunePlan& plan,
                                   const LayerMethod& method, Index scale_group, std::filesystem::path folder)
    : checkpoint_(checkpoint),
      plan_(plan),
      method_(method),
      scale_group_(scale_group),
      decoder_(checkpoint, plan.options.calibration.precision),
      text_(read_calibration_text(decoder_, plan.options.calibration)),
      rope_(decoder_.config().rope, text_.length),
      follow_(method_.follows_dense ? plan.options.calibration.follow.value_or(kUsualFollow) : 0),
      planned_(planned_by_name(checkpoint, plan)),
      scratch_(plan.options.calibration.memory, folder),
      results_(0, std::move(folder)) {}

void CalibratedPruner::run(const Progress& progress) {
  ProgressCounter counter(progress, reserve_results());
  take_streams();
  if (plan_.options.calibration.allocation != Allocation::kUniform)
    sparsities_ = allocate_sparsity(decoder_, plan_, text_, rope_, pruned_stream_);
  embed();
  for (int64_t index = 0; index < decoder_.config().layers; ++index) prune_layer(index, counter);
  free_working_memory();
  for (const auto& [name, result] : pruned_) {
    if (result.report.pruned) continue;
    throw_input("tensor " + quote_name(name) + " is no linear layer of a decoder layer: method " +
                std::string(method_.name) + " can't prune it");
  }
}

template <class Body>
void CalibratedPruner::for_each_batch(std::span<float> stream, Body&& body) {
  const int64_t count = batch_sequences(text_.length);
  for (int64_t first = 0; first < text_.samples; first += count) {
    check_interrupted();
    const Sequences sequences(std::min(count, text_.samples - first), text_.length);
    const int64_t begin = first * text_.length * decoder_.config().width;
    const std::span<float> part =
        stream.subspan(size_t(begin), size_t(sequences.tokens() * decoder_.config().width));
    body(part, sequences, first);
    scratch_.done_with(std::as_bytes(part));
  }
}

void CalibratedPruner::free_working_memory() {
  scratch_.clear();
  pruned_stream_ = dense_stream_ = target_ = previous_stream_ = {};
  previous_.reset();
  pruned_activations_ = dense_activations_ = {};
  pruned_outputs_ = dense_outputs_ = lacking_ = {};
}

// At once, so that a disk that is too small is found before the work.
uint64_t CalibratedPruner::reserve_results() {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : planned_) bytes += checkpoint_.tensor(tensor->ref).size_bytes();
  std::span<std::byte> free = results_.take_in_file(bytes);
  for (const auto& [name, tensor] : planned_) {
    const size_t size = checkpoint_.tensor(tensor->ref).size_bytes();
    pruned_[name].bytes = free.first(size);
    free = free.subspan(size);
  }
  return bytes;
}

void CalibratedPruner::done_with(const std::string& tensor) {
  PrunedTensor& written = pruned_.at(tensor);
  results_.done_with(written.bytes);
  written.scales = {};
}

void CalibratedPruner::take_streams() {
  const auto size = uint64_t(text_.samples * text_.length * decoder_.config().width);
  pruned_stream_ = scratch_.take_array<float>(size);
  if (follow_ > 0) dense_stream_ = scratch_.take_array<float>(size);
  if (method_.reconstructs) {
    target_ = scratch_.take_array<float>(size);
    previous_stream_ = scratch_.take_array<float>(size);
  }
}

void CalibratedPruner::embed() {
  for_each_batch(pruned_stream_, [&](std::span<float> hidden, const Sequences& sequences, int64_t first) {
    decoder_.embed(text_.sequences(first, sequences.count()), sequences, hidden.data());
    if (follow_ > 0)
      std::ranges::copy(hidden, dense_stream_.begin() + (hidden.data() - pruned_stream_.data()));
  });
  release(decoder_.embedding_name());
}

std::vector<CalibratedPruner::Site> CalibratedPruner::sites_of(DecoderLayer& layer) const {
  std::vector<Site> sites;
  const auto add = [&](std::span<Linear> readers) {
    sites.push_back({.readers = readers, .place = sites.size()});
  };
  add(layer.qkv);
  add({&layer.output, 1});
  for (FeedForward& expert : layer.experts) {
    add(expert.expanding);
    add({&expert.contracting, 1});
  }
  return sites;
}

std::unique_ptr<CalibratedPruner::Work> CalibratedPruner::load(int64_t index) const {
  const CalibrationOptions& options = plan_.options.calibration;
  auto work = std::make_unique<Work>(Work{.layer = decoder_.load_layer(index)});
  if ((options.true_sequential && follow_ > 0) || method_.reconstructs)
    work->dense = decoder_.load_layer(index);
  work->sites = sites_of(work->layer);
  return work;
}

void CalibratedPruner::prune_layer(int64_t index, ProgressCounter& progress) {
  std::unique_ptr<Work> work = load(index);
  std::vector<Site>& sites = work->sites;
  const size_t step = plan_.options.calibration.true_sequential ? 1 : sites.size();
  for (size_t first = 0; first < sites.size(); first += step) {
    const std::span<Site> stage(sites.data() + first, step);
    collect(work->dense ? *work->dense : work->layer, work->layer, sites, stage);
    for (Site& site : stage) prune_site(site, progress);
  }
  release(work->layer);
  if (method_.reconstructs) {
    reconstruct_with_previous(std::move(work));
  } else if (index + 1 < decoder_.config().layers) {
    advance(work->layer, pruned_stream_, pruned_stream_);
  }
}

// Both streams through the layer. In the first stage it is dense for both, which gives the target; after the
// last one the dense stream goes on to the next layer.
void CalibratedPruner::collect(const DecoderLayer& dense, const DecoderLayer& pruned, std::span<Site> sites,
                               std::span<Site> stage) {
  std::map<const Linear*, Site*> observed;
  for (Site& site : stage) {
    if (std::ranges::none_of(site.readers, [&](const Linear& linear) { return is_planned(linear); }))
      continue;
    const bool follows = follow_ > 0 && sees_all_tokens(decoder_.config(), site.place);
    const int64_t lacks = follows && adds_to_hidden_state(site.place) ? decoder_.config().width : 0;
    site.moments.emplace(site.readers.front().in, follows, lacks);
    observed[site.readers.data()] = &site;
  }
  const bool is_first = stage.data() == sites.data();
  const bool is_last = &stage.back() == &sites.back();
  for_each_batch(pruned_stream_, [&](std::span<float> hidden, const Sequences& sequences, int64_t) {
    const int64_t begin = hidden.data() - pruned_stream_.data();
    std::span<float> from;
    if (follow_ > 0) {
      from = dense_stream_.subspan(size_t(begin), hidden.size());
      dense_outputs_.resize(sequences.tokens(), decoder_.config().width);
      forward_layer(dense, rope_, sequences, from.data(), dense_outputs_.data(), dense_activations_);
    }
    const InputObserver observer = [&](std::span<const Linear> readers, const float* x, int64_t n) {
      const auto found = observed.find(readers.data());
      if (found != observed.end()) add_inputs(*found->second, x, n, hidden, from);
    };
    pruned_outputs_.resize(sequences.tokens(), decoder_.config().width);
    forward_layer(pruned, rope_, sequences, hidden.data(), pruned_outputs_.data(), pruned_activations_,
                  observer);
    if (is_last && follow_ > 0) std::copy_n(dense_outputs_.data(), from.size(), from.data());
    if (follow_ > 0) scratch_.done_with(std::as_bytes(from));
    if (method_.reconstructs && is_first) keep_target(target_.subspan(size_t(begin), hidden.size()));
  });
}

// `hidden` and `dense` are a batch of both streams before the layer.
void CalibratedPruner::add_inputs(Site& site, const float* x, int64_t n, std::span<const float> hidden,
                                  std::span<const float> dense) {
  InputMoments& moments = *site.moments;
  if (!moments.follows()) return moments.add(x, n);
  const float* lacking = nullptr;
  if (moments.has_lacking()) {
    const float* wanted = hidden_state_at(dense_activations_, dense.data(), site.place);
    const float* own = hidden_state_at(pruned_activations_, hidden.data(), site.place);
    lacking_.resize(n, decoder_.config().width);
#pragma omp parallel for simd
    for (int64_t i = 0; i < lacking_.size(); ++i) lacking_.data()[i] = wanted[i] - own[i];
    lacking = lacking_.data();
  }
  moments.add(x, n, inputs_at(dense_activations_, site.place).data(), lacking);
}

// follow_ parts of what the dense layer makes of the dense stream, the rest of what it makes of the pruned.
void CalibratedPruner::keep_target(std::span<float> target) {
  for (size_t i = 0; i < target.size(); ++i) {
    const float own = pruned_outputs_.data()[i];
    target[i] = follow_ > 0 ? own + float(follow_) * (dense_outputs_.data()[i] - own) : own;
  }
  scratch_.done_with(std::as_bytes(target));
}

// The layer alone, then together with the one before; both streams end up one layer further.
void CalibratedPruner::reconstruct_with_previous(std::unique_ptr<Work> work) {
  Work* const both[] = {previous_.get(), work.get()};
  reconstruct({&both[1], 1}, pruned_stream_);
  if (previous_) {
    reconstruct(both, previous_stream_);
    store_again(*previous_);
    advance(previous_->layer, previous_stream_, previous_stream_);
  } else {
    std::ranges::copy(pruned_stream_, previous_stream_.begin());
  }
  store_again(*work);
  advance(work->layer, previous_stream_, pruned_stream_);
  previous_ = std::move(work);
}

void CalibratedPruner::reconstruct(std::span<Work* const> layers, std::span<const float> inputs) {
  std::vector<ReconstructedLayer> trained;
  for (Work* work : layers) {
    ReconstructedLayer& each = trained.emplace_back(ReconstructedLayer{.layer = work->layer, .masks = {}});
    for (const Linear* linear : work->layer.linears()) {
      each.masks.push_back(
          is_planned(*linear) ? nonzero_mask(view(linear->weight.data(), linear->out, linear->in)) : Mask());
    }
  }
  const auto size = size_t(text_.length * decoder_.config().width);
  const auto read = [&](int64_t s, float* x, float* t) {
    check_interrupted();
    const size_t begin = size_t(s) * size;
    std::ranges::copy(inputs.subspan(begin, size), x);
    std::ranges::copy(target_.subspan(begin, size), t);
    scratch_.done_with(std::as_bytes(inputs.subspan(begin, size)));
    scratch_.done_with(std::as_bytes(target_.subspan(begin, size)));
  };
  ReconstructionOptions options;
  options.steps = plan_.options.calibration.steps;
  options.batch = plan_.options.calibration.batch;
  options.learning_rate = plan_.options.calibration.learning_rate;
  reconstruct_layers(trained, rope_, {text_.samples, text_.length, read}, options);
}

void CalibratedPruner::store_again(Work& work) {
  const std::vector<Linear*> linears = work.layer.linears();
  const std::vector<const Linear*> dense = std::as_const(*work.dense).linears();
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!is_planned(*linears[i])) continue;
    const auto site = std::ranges::find_if(work.sites, [&](const Site& s) {
      return linears[i] >= s.readers.data() && linears[i] < s.readers.data() + s.readers.size();
    });
    store_again(*linears[i], *dense[i], *site->moments);
  }
}

void CalibratedPruner::store_again(Linear& linear, const Linear& dense, const InputMoments& moments) {
  PrunedTensor& result = pruned_.at(linear.weight_name);
  const View<float> weights = view(linear.weight.data(), linear.out, linear.in);
  store_matrix(stored(*planned_.at(linear.weight_name), result.bytes), weights, result.report);
  result.report.error_after =
      layer_error(detail::as_const(weights), view(dense.weight.data(), dense.out, dense.in), moments.gram());
  results_.done_with(result.bytes);
}

StoredTensor CalibratedPruner::stored(const PlannedTensor& planned, std::span<std::byte> after) const {
  return {.dtype = checkpoint_.tensor(planned.ref).dtype,
          .orientation = planned.orientation,
          .before = checkpoint_.data(planned.ref),
          .after = after};
}

void CalibratedPruner::advance(const DecoderLayer& layer, std::span<float> from, std::span<float> to) {
  for_each_batch(from, [&](std::span<float> hidden, const Sequences& sequences, int64_t) {
    const std::span<float> out = to.subspan(size_t(hidden.data() - from.data()), hidden.size());
    forward_layer(layer, rope_, sequences, hidden.data(), out.data(), pruned_activations_);
    scratch_.done_with(std::as_bytes(out));
  });
}

void CalibratedPruner::prune_site(Site& site, ProgressCounter& progress) {
  if (!site.moments) return;
  try {
    site.moments->finish();
  } catch (const Error& fault) {
    throw_input("the inputs of " + quote_name(site.readers.front().weight_name) + ": " + fault.what());
  }
  const Matrix<float> blend = site.moments->follows() ? site.moments->blend(follow_) : Matrix<float>();
  for (Linear& linear : site.readers) {
    check_interrupted();
    if (!is_planned(linear)) continue;
    prune_linear(linear, *site.moments, blend);
    progress.add(pruned_.at(linear.weight_name).bytes.size(), linear.weight_name);
  }
}

void CalibratedPruner::prune_linear(Linear& linear, const InputMoments& moments, const Matrix<float>& blend) {
  const PlannedTensor& planned = *planned_.at(linear.weight_name);
  const Matrix<float> dense = view(linear.weight.data(), linear.out, linear.in);
  LayerTask task{.dense = view(dense), .gram = moments.gram()};
  task.pattern = plan_.options.pattern;
  const auto own = sparsities_.find(linear.weight_name);
  task.sparsity = own == sparsities_.end() ? plan_.sparsity : own->second;
  task.damping = plan_.options.calibration.damping.value_or(method_.damping);
  task.keep_zeros = plan_.options.calibration.keep_zeros;
  task.scale_group = scale_group_;
  Matrix<float> rhs;
  if (blend.size() > 0) {
    rhs.resize(linear.out, linear.in);
    gemm({.m = linear.out, .n = linear.in, .k = linear.in}, dense.data(), linear.in, blend.data(), linear.in,
         rhs.data(), linear.in);
    if (moments.has_lacking()) rhs += float(follow_) * moments.lacking();
    task.rhs.emplace(view(rhs));
  }
  PrunedTensor& result = pruned_.at(linear.weight_name);
  result.report = describe_tensor(checkpoint_, planned);
  result.report.wanted_sparsity = task.sparsity;
  if (moments.tokens() == 0) result.report.note = "no token was routed here: inputs taken for equal";
  try {
    result.scales = prune_matrix(method_, task, stored(planned, result.bytes),
                                 view(linear.weight.data(), linear.out, linear.in), result.report);
  } catch (const Error& fault) {
    throw_input(quote_name(linear.weight_name) + ": " + fault.what());
  }
  results_.done_with(result.bytes);
}

// The layer's tensors are not read again before they are written.
void CalibratedPruner::release(const DecoderLayer& layer) const {
  for (const Linear* linear : layer.linears()) release(linear->weight_name);
}

void CalibratedPruner::release(const std::string& tensor) const {
  const auto ref = checkpoint_.find(tensor);
  const SafetensorsFile& shard = checkpoint_.shards()[ref->shard];
  const TensorInfo& info = checkpoint_.tensor(*ref);
  shard.map().done_with(shard.data_start() + info.begin, info.size_bytes());
}

}  // namespace prune
