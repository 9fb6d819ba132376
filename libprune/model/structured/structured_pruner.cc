#include "libprune/model/structured/structured_pruner.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <prune/error.h>

#include "libprune/io/staging.h"
#include "libprune/io/text.h"
#include "libprune/model/calibrated/calibrated_pruner.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/structured/head_trial.h"
#include "libprune/model/structured/norm_cut.h"
#include "libprune/model/structured/structured_layer.h"
#include "libprune/model/structured/text_loss.h"

namespace prune {
namespace {

constexpr double kUsualFollow = 0.5;
constexpr double kUsualDamping = 1e-3;
constexpr int64_t kHeadTrialShare = 8;  // heads are tried on an eighth of the text at most

// What a half adds to before a norm that comes after.
const FloatMatrix& sum_of_attention(const DecoderConfig& config, const LayerActivations& a) {
  return config.norms_after ? a.attention_sum : a.middle;
}

// E = wanted - own, over `own`.
void subtract_from(const FloatMatrix& wanted, FloatMatrix& own) {
#pragma omp parallel for
  for (int64_t i = 0; i < own.size(); ++i) own.data()[i] = wanted.data()[i] - own.data()[i];
}

// E = (wanted - own) + share (crossed - own), over `own`.
void subtract_from_mixture(std::span<const float> wanted, std::span<const float> crossed, float share,
                           FloatMatrix& own) {
#pragma omp parallel for
  for (int64_t i = 0; i < own.size(); ++i) {
    float& value = own.data()[i];
    value = wanted[size_t(i)] - value + share * (crossed[size_t(i)] - value);
  }
}

void copy_to(const FloatMatrix& from, FloatMatrix& to) {
  to.resize(from.rows(), from.cols());
  std::copy_n(from.data(), from.size(), to.data());
}

void load_middle(std::span<const float> hidden, int64_t width, LayerActivations& activations) {
  activations.middle.resize(int64_t(hidden.size()) / width, width);
  std::ranges::copy(hidden, activations.middle.data());
}

}  // namespace

StructuredPruner::~StructuredPruner() = default;

StructuredPruner::StructuredPruner(const Decoder& decoder, const StructuredOptions& options,
                                   const CalibrationText& text, int64_t fit, int64_t test,
                                   std::filesystem::path folder)
    : decoder_(decoder),
      options_(options),
      method_(find_structured_method(options.method)),
      text_(text),
      fit_(fit),
      test_(test),
      follow_(method_.refits ? options.calibration.follow.value_or(kUsualFollow) : 0),
      rope_(decoder.config().rope, text.length),
      scratch_(options.calibration.memory, folder),
      results_(std::make_unique<Scratch>(0, std::move(folder))) {}

StructuredResult StructuredPruner::run(const ModelShape& shape, const Units& gone,
                                       ProgressCounter& progress) {
  shape_ = shape;
  gone_ = gone;
  StructuredResult result;
  embed();
  for (int64_t index = 0; index < decoder_.config().layers; ++index) {
    if (std::ranges::find(gone, index) != gone.end()) {
      if (result.cut.layers.empty() || !crosses_gaps()) skip_layer(index);
      result.layers.push_back({.layer = index, .stays = false});
    } else {
      auto work = std::make_unique<Layer>();
      work->cut = whole_layer(decoder_.config(), index);
      if (crosses_gaps()) work->gap = gap_after(index);
      cut_layer(*work);
      result.cut.layers.push_back(work->cut);
      result.layers.push_back(work->report);
      if (method_.reconstructs) previous_ = std::move(work);
    }
    release(index);
    progress.add(decoder_.checkpoint().tensor_bytes() / uint64_t(decoder_.config().layers),
                 decoder_.layer_name(index));
  }
  if (test_ > 0) result.nats = loss();
  result.changed.insert(changed_.begin(), changed_.end());
  result.memory = std::move(results_);
  return result;
}

void StructuredPruner::embed() {
  const auto size = uint64_t((fit_ + test_) * text_.length * decoder_.config().width);
  pruned_ = scratch_.take_array<float>(size);
  if (follow_ > 0) dense_ = scratch_.take_array<float>(size);
  if (method_.reconstructs || crosses_gaps()) targets_ = scratch_.take_array<float>(size);
  if (method_.reconstructs) previous_inputs_ = scratch_.take_array<float>(size);
  int64_t sequence = 0;
  for_each_batch([&](std::span<float> pruned, std::span<float> dense, const Sequences& sequences, bool) {
    decoder_.embed(text_.sequences(sequence, sequences.count()), sequences, pruned.data());
    if (!dense.empty()) std::ranges::copy(pruned, dense.begin());
    sequence += sequences.count();
  });
  if (method_.reconstructs) std::ranges::copy(pruned_, previous_inputs_.begin());
}

// A layer that goes: the dense stream alone passes it.
void StructuredPruner::skip_layer(int64_t index) {
  if (dense_.empty()) return;
  const DecoderLayer layer = decoder_.load_layer(index);
  for_each_batch([&](std::span<float>, std::span<float> dense, const Sequences& sequences, bool) {
    forward_layer(layer, rope_, sequences, dense.data(), dense.data(), dense_activations_);
  });
}

// The pages of its tensors.
void StructuredPruner::release(int64_t index) const {
  const std::string prefix = decoder_.layer_name(index) + ".";
  for (const SafetensorsFile& shard : decoder_.checkpoint().shards()) {
    for (const TensorInfo& tensor : shard.tensors()) {
      if (tensor.name.starts_with(prefix))
        shard.map().done_with(shard.data_start() + tensor.begin, tensor.size_bytes());
    }
  }
}

bool StructuredPruner::crosses_gaps() const {
  return !gone_.empty() && follow_ > 0 && !decoder_.config().norms_after;
}

Units StructuredPruner::gap_after(int64_t index) const {
  Units gap;
  for (int64_t next = index + 1; std::ranges::find(gone_, next) != gone_.end(); ++next) gap.push_back(next);
  return gap;
}

// The dense stream through the layer's second half; then it, and what the dense layer made of the pruned
// stream, through the layers that go after it.
void StructuredPruner::pass_gap(const Layer& work) {
  const int64_t width = decoder_.config().width;
  for_each_batch([&](std::span<float>, std::span<float> dense, const Sequences&, bool) {
    load_middle(dense, width, dense_activations_);
    forward_feed_forward(work.dense, dense_activations_, dense.data(), {});
  });
  for (const int64_t index : work.gap) {
    const DecoderLayer layer = decoder_.load_layer(index);
    for_each_batch(
        [&](std::span<float> pruned, std::span<float> dense, const Sequences& sequences, bool fits) {
          forward_layer(layer, rope_, sequences, dense.data(), dense.data(), dense_activations_);
          float* target = targets_of(pruned).data();
          if (fits) forward_layer(layer, rope_, sequences, target, target, dense_activations_);
        });
  }
}

void StructuredPruner::cut_layer(Layer& work) {
  const DecoderConfig& config = decoder_.config();
  work.dense = decoder_.load_layer(work.cut.layer);
  work.left = decoder_.load_layer(work.cut.layer);
  LayerSize size = size_of(config);
  size.heads = shape_.size.heads;
  size.kv_heads = shape_.size.kv_heads;
  work.after_attention = resized(config, size);
  work.after_all = resized(config, shape_.size);
  try {
    attention(work);
    if (shape_.size.experts < config.experts) experts(work);
    feed_forward(work);
    const std::optional<double> attention_error = work.report.attention_error,
                                feed_forward_error = work.report.feed_forward_error;
    work.report = describe_cut(config, work.cut);
    work.report.attention_error = attention_error;
    work.report.feed_forward_error = feed_forward_error;
    if (method_.reconstructs) train(work);
  } catch (const Error& fault) {
    throw Error(fault.kind(), decoder_.layer_name(work.cut.layer) + ": " + fault.what());
  }
}

ProjectionTask StructuredPruner::task(int64_t group, int64_t keep) const {
  return {.method = method_,
          .group = group,
          .keep = keep,
          .damping = options_.calibration.damping.value_or(kUsualDamping),
          .follow = follow_};
}

// Whether they changed: they do not as long as the streams are one.
bool StructuredPruner::refit_readers(std::span<Linear> readers, const Norm& norm) {
  if (dense_.empty() || std::ranges::equal(pruned_, dense_)) return false;
  const DecoderConfig& config = decoder_.config();
  InputMoments moments(config.width, true);
  const auto read = [&](std::span<const float> hidden, FloatMatrix& to) {
    to.resize(int64_t(hidden.size()) / config.width, config.width);
    if (config.norms_after) {
      std::ranges::copy(hidden, to.data());
    } else {
      norm.apply(hidden.data(), to.data(), to.rows());
    }
  };
  for_each_batch([&](std::span<float> pruned, std::span<float> dense, const Sequences& sequences, bool fits) {
    if (!fits) return;
    read(pruned, own_);
    read(dense, wanted_);
    moments.add(own_.data(), sequences.tokens(), wanted_.data());
  });
  moments.finish();
  const Matrix<float> wanted = moments.blend(follow_);
  for (Linear& reader : readers) refit_reader(reader, moments.gram(), wanted, task(1, 0).damping);
  return true;
}

// What the dense layer makes of the pruned stream.
void StructuredPruner::make_targets(const Layer& work, std::span<const float> pruned,
                                    const Sequences& sequences) {
  forward_layer(work.dense, rope_, sequences, pruned.data(), targets_of(pruned).data(), activations_);
}

// Attention as it is on both streams, then as it is left on the pruned one.
void StructuredPruner::attention(Layer& work) {
  const DecoderConfig& config = decoder_.config();
  const bool is_cut = shape_.size.heads < config.heads;
  const bool follows = refit_readers(work.left.qkv, work.dense.attention_norm);
  std::optional<ProjectionMoments> moments;
  if (is_cut || method_.refits) moments.emplace(work.dense.output, follow_ > 0);
  for_each_batch([&](std::span<float> pruned, std::span<float> dense, const Sequences& sequences, bool fits) {
    if (!dense.empty()) {
      forward_qkv(work.dense, rope_, sequences, dense.data(), dense_activations_, {});
      forward_attention(work.dense, sequences, dense.data(), dense_activations_, {});
      std::copy_n(dense_activations_.middle.data(), dense.size(), dense.data());
    }
    if (moments && fits) {
      if (method_.reconstructs || !work.gap.empty()) make_targets(work, pruned, sequences);
      forward_qkv(work.left, rope_, sequences, pruned.data(), activations_, {});
      forward_attention(work.left, sequences, pruned.data(), activations_, {});
      const float* correction = nullptr;
      if (!dense.empty()) {
        copy_to(sum_of_attention(config, activations_), own_);
        subtract_from(sum_of_attention(config, dense_activations_), own_);
        correction = own_.data();
      }
      moments->add(activations_.context.data(), correction, activations_.context.rows());
    }
  });
  if (moments) {
    moments->finish();
    Units columns = columns_of_heads(config, work.cut.heads);
    if (is_cut) {
      choose_heads(work, *moments);
      columns = columns_of_heads(config, work.cut.heads);
      cut_qkv(work.left, config, work.cut);
    }
    for (Linear& reader : work.left.qkv) {
      if (follows) store(work, reader);
    }
    if (method_.refits) {
      refit(work.left.output, *moments, columns, task(1, 0));
      store(work, work.left.output);
    } else {
      keep_columns(work.left.output, columns);
    }
    work.report.attention_error = projection_error(work.dense.output, work.left.output, columns, *moments);
  }
  work.left.config = &work.after_attention;
  advance_attention(work);
}

void StructuredPruner::choose_heads(Layer& work, const ProjectionMoments& moments) {
  const DecoderConfig& config = decoder_.config();
  const bool groups = config.kv_heads > 1;
  const int64_t each = groups ? config.heads / config.kv_heads : 1;
  const int64_t keep = groups ? shape_.size.kv_heads : shape_.size.heads;
  const ProjectionTask heads = task(each * config.head_dim, keep);
  const Units kept = method_.score == UnitScore::kLoss ? heads_by_trial(work, moments, heads)
                                                       : choose_groups(work.dense.output, moments, heads);
  if (groups) work.cut.kv_heads = kept;
  work.cut.heads = groups ? heads_of(config, kept) : kept;
}

Units StructuredPruner::heads_by_trial(Layer& work, const ProjectionMoments& moments,
                                       const ProjectionTask& heads) {
  TextTrial trial(decoder_, text_, std::max<int64_t>(1, fit_ / kHeadTrialShare));
  FloatMatrix hidden(trial.tokens(), decoder_.config().width);
  std::copy_n(pruned_.begin(), hidden.size(), hidden.data());
  Units later;
  for (int64_t index = work.cut.layer + 1; index < decoder_.config().layers; ++index) {
    if (std::ranges::find(gone_, index) == gone_.end()) later.push_back(index);
  }
  return choose_heads_by_trial(trial, work.left, hidden, later, moments, heads);
}

void StructuredPruner::advance_attention(const Layer& work) {
  for_each_batch([&](std::span<float> pruned, std::span<float>, const Sequences& sequences, bool) {
    forward_qkv(work.left, rope_, sequences, pruned.data(), activations_, {});
    forward_attention(work.left, sequences, pruned.data(), activations_, {});
    std::copy_n(activations_.middle.data(), pruned.size(), pruned.data());
  });
}

// REAP's score, the mean over an expert's tokens of the router's share times the norm of its output (Lasby et
// al., arXiv 2510.13999).
void StructuredPruner::experts(Layer& work) {
  const DecoderConfig& config = decoder_.config();
  std::vector<double> sums(size_t(config.experts), 0), tokens(size_t(config.experts), 0);
  for_each_batch([&](std::span<float> pruned, std::span<float>, const Sequences&, bool fits) {
    if (!fits) return;
    load_middle(pruned, config.width, activations_);
    wanted_.resize(activations_.middle.rows(), config.width);
    forward_feed_forward(work.left, activations_, wanted_.data(), {});
    for (size_t e = 0; e < activations_.experts.size(); ++e) {
      const FeedForwardActivations& expert = activations_.experts[e];
      for (size_t i = 0; i < expert.tokens.size(); ++i) {
        const float* y = expert.output.row(int64_t(i));
        sums[e] += double(expert.shares[i]) * std::sqrt(std::inner_product(y, y + config.width, y, 0.0));
      }
      tokens[e] += double(expert.tokens.size());
    }
  });
  for (size_t e = 0; e < sums.size(); ++e) sums[e] /= std::max(1.0, tokens[e]);
  work.cut.experts = largest(sums, shape_.size.experts);
  work.cut.channels.resize(work.cut.experts.size());
  cut_feed_forward(work.left, config, work.cut);
  work.after_attention.experts = shape_.size.experts;
  work.after_attention.experts_per_token = work.after_all.experts_per_token;
}

void StructuredPruner::feed_forward(Layer& work) {
  const DecoderConfig& config = decoder_.config();
  const bool follows = follow_ > 0 && !config.has_experts();
  const bool readers_follow =
      follows && refit_readers(work.left.experts[0].expanding, work.dense.feed_forward_norm);
  std::vector<ProjectionMoments> moments;
  if (shape_.size.channels < config.inner || method_.refits) {
    for (const FeedForward& expert : work.left.experts) moments.emplace_back(expert.contracting, follows);
  }
  if (!work.gap.empty()) pass_gap(work);
  const float share = work.gap.empty() ? 0 : float((1 - follow_) / follow_);
  for_each_batch([&](std::span<float> pruned, std::span<float> dense, const Sequences& sequences, bool fits) {
    if (!dense.empty() && work.gap.empty()) {
      load_middle(dense, config.width, dense_activations_);
      forward_feed_forward(work.dense, dense_activations_, dense.data(), {});
    }
    if (moments.empty() || !fits) return;
    load_middle(pruned, config.width, activations_);
    wanted_.resize(sequences.tokens(), config.width);
    forward_feed_forward(work.left, activations_, wanted_.data(), {});
    if (follows) {
      copy_to(activations_.feed_forward_sum, own_);
      if (work.gap.empty()) {
        subtract_from(dense_activations_.feed_forward_sum, own_);
      } else {
        subtract_from_mixture(dense, targets_of(pruned), share, own_);
      }
    }
    for (size_t e = 0; e < moments.size(); ++e) {
      const FeedForwardActivations& expert = activations_.experts[e];
      moments[e].add(expert.inner.data(), follows ? own_.data() : nullptr, expert.inner.rows(),
                     config.has_experts() ? expert.shares.data() : nullptr);
    }
  });
  for (size_t e = 0; e < moments.size(); ++e) cut_expert(work, e, moments[e]);
  for (Linear& reader : work.left.experts[0].expanding) {
    if (readers_follow) store(work, reader);
  }
  work.left.config = &work.after_all;
  advance_feed_forward(work);
}

void StructuredPruner::cut_expert(Layer& work, size_t expert, ProjectionMoments& moments) {
  const DecoderConfig& config = decoder_.config();
  moments.finish();
  FeedForward& left = work.left.experts[expert];
  const Linear& dense = work.dense.experts[size_t(work.cut.experts[expert])].contracting;
  Units& kept = work.cut.channels[expert];
  if (shape_.size.channels < config.inner) {
    kept = choose_groups(dense, moments, task(1, shape_.size.channels));
    const Units rows = expanding_rows(config, kept, left.expanding.size() == 1);
    for (Linear& linear : left.expanding) keep_rows(linear, rows);
  }
  if (method_.refits) {
    refit(left.contracting, moments, kept, task(1, 0));
    store(work, left.contracting);
  } else {
    keep_columns(left.contracting, kept);
  }
  const double error = projection_error(dense, left.contracting, kept, moments);
  const auto experts = double(work.left.experts.size());
  work.report.feed_forward_error = work.report.feed_forward_error.value_or(0) + error / experts;
}

void StructuredPruner::advance_feed_forward(const Layer& work) {
  for_each_batch([&](std::span<float> pruned, std::span<float>, const Sequences&, bool) {
    load_middle(pruned, decoder_.config().width, activations_);
    forward_feed_forward(work.left, activations_, pruned.data(), {});
  });
}

double StructuredPruner::loss() {
  const int64_t width = decoder_.config().width;
  const std::span<float> hidden = pruned_.subspan(size_t(fit_ * text_.length * width));
  return text_loss(decoder_, text_.sequences(fit_, test_), text_.length, hidden.data());
}

}  // namespace prune
