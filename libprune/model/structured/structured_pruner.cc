#include "libprune/model/structured/structured_pruner.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <prune/error.h>

#include "libprune/io/staging.h"
#include "libprune/io/text.h"
#include "libprune/model/calibrated/calibrated_pruner.h"
#include "libprune/model/calibrated/matrix_pruner.h"
#include "libprune/model/calibrated/reconstruction.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/structured/norm_cut.h"
#include "libprune/model/structured/tensor_cut.h"
#include "libprune/model/structured/text_loss.h"

namespace prune {
namespace {

constexpr double kUsualFollow = 0.5;
constexpr double kUsualDamping = 1e-3;

// What a half adds to before a norm that comes after.
const FloatMatrix& sum_of_attention(const DecoderConfig& config, const LayerActivations& a) {
  return config.norms_after ? a.attention_sum : a.middle;
}

// E = wanted - own, over `own`.
void subtract_from(const FloatMatrix& wanted, FloatMatrix& own) {
#pragma omp parallel for
  for (int64_t i = 0; i < own.size(); ++i) own.data()[i] = wanted.data()[i] - own.data()[i];
}

void copy_to(const FloatMatrix& from, FloatMatrix& to) {
  to.resize(from.rows(), from.cols());
  std::copy_n(from.data(), from.size(), to.data());
}

Mask all_kept(Index rows, Index cols) {
  Mask mask(rows, cols);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols; ++j) mask.set(i, j, true);
  }
  return mask;
}

void load_middle(std::span<const float> hidden, int64_t width, LayerActivations& activations) {
  activations.middle.resize(int64_t(hidden.size()) / width, width);
  std::ranges::copy(hidden, activations.middle.data());
}

}  // namespace

struct StructuredPruner::Layer {
  DecoderLayer dense;
  DecoderLayer left;
  DecoderConfig after_attention, after_all;  // what `left` is true of after each half
  LayerCut cut;
  LayerReport report;
};

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
      scratch_(options.calibration.memory, std::move(folder)) {}

StructuredResult StructuredPruner::run(const ModelShape& shape, const Units& gone,
                                       ProgressCounter& progress) {
  shape_ = shape;
  StructuredResult result;
  embed();
  for (int64_t index = 0; index < decoder_.config().layers; ++index) {
    if (std::ranges::find(gone, index) != gone.end()) {
      skip_layer(index);
      result.layers.push_back({.layer = index, .stays = false});
    } else {
      Layer work;
      work.cut = whole_layer(decoder_.config(), index);
      cut_layer(work);
      result.cut.layers.push_back(work.cut);
      result.layers.push_back(std::move(work.report));
    }
    progress.add(decoder_.checkpoint().tensor_bytes() / uint64_t(decoder_.config().layers),
                 decoder_.layer_name(index));
  }
  if (test_ > 0) result.nats = loss();
  result.changed = std::move(changed_);
  return result;
}

template <class Body>
void StructuredPruner::for_each_batch(Body&& body) {
  const int64_t at_once = batch_sequences(text_.length), width = decoder_.config().width;
  for (int64_t first = 0; first < fit_ + test_;) {
    check_interrupted();
    const bool fits = first < fit_;
    const int64_t end = fits ? fit_ : fit_ + test_;
    const Sequences sequences(std::min(at_once, end - first), text_.length);
    const auto begin = size_t(first * text_.length * width), size = size_t(sequences.tokens() * width);
    const std::span<float> pruned = pruned_.subspan(begin, size);
    const std::span<float> dense = dense_.empty() ? dense_ : dense_.subspan(begin, size);
    body(pruned, dense, sequences, fits);
    scratch_.done_with(std::as_bytes(pruned));
    if (!dense.empty()) scratch_.done_with(std::as_bytes(dense));
    first += sequences.count();
  }
}

void StructuredPruner::embed() {
  const auto size = uint64_t((fit_ + test_) * text_.length * decoder_.config().width);
  pruned_ = scratch_.take_array<float>(size);
  if (follow_ > 0) dense_ = scratch_.take_array<float>(size);
  if (method_.reconstructs) {
    inputs_ = scratch_.take_array<float>(size);
    targets_ = scratch_.take_array<float>(size);
  }
  int64_t sequence = 0;
  for_each_batch([&](std::span<float> pruned, std::span<float> dense, const Sequences& sequences, bool) {
    decoder_.embed(text_.sequences(sequence, sequences.count()), sequences, pruned.data());
    if (!dense.empty()) std::ranges::copy(pruned, dense.begin());
    sequence += sequences.count();
  });
}

// A layer that goes: the dense stream alone passes it.
void StructuredPruner::skip_layer(int64_t index) {
  if (dense_.empty()) return;
  const DecoderLayer layer = decoder_.load_layer(index);
  for_each_batch([&](std::span<float>, std::span<float> dense, const Sequences& sequences, bool) {
    forward_layer(layer, rope_, sequences, dense.data(), dense.data(), dense_activations_);
  });
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
  if (method_.reconstructs) std::ranges::copy(pruned_, inputs_.begin());
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

// Attention as it is on both streams, then as it is left on the pruned one.
void StructuredPruner::attention(Layer& work) {
  const DecoderConfig& config = decoder_.config();
  const bool is_cut = shape_.size.heads < config.heads;
  std::optional<ProjectionMoments> moments;
  if (is_cut || method_.refits) moments.emplace(work.dense.output, follow_ > 0);
  int64_t begin = 0;
  for_each_batch([&](std::span<float> pruned, std::span<float> dense, const Sequences& sequences, bool fits) {
    if (!dense.empty()) {
      forward_qkv(work.dense, rope_, sequences, dense.data(), dense_activations_, {});
      forward_attention(work.dense, sequences, dense.data(), dense_activations_, {});
      std::copy_n(dense_activations_.middle.data(), dense.size(), dense.data());
    }
    if (moments && (fits || method_.reconstructs)) {
      forward_qkv(work.dense, rope_, sequences, pruned.data(), activations_, {});
      forward_attention(work.dense, sequences, pruned.data(), activations_, {});
      const float* correction = nullptr;
      if (!dense.empty()) {
        copy_to(sum_of_attention(config, activations_), own_);
        subtract_from(sum_of_attention(config, dense_activations_), own_);
        correction = own_.data();
      }
      if (fits) moments->add(activations_.context.data(), correction, activations_.context.rows());
    }
    if (method_.reconstructs) {
      wanted_.resize(sequences.tokens(), config.width);
      forward_feed_forward(work.dense, activations_, wanted_.data(), {});
      std::copy_n(wanted_.data(), wanted_.size(), targets_.begin() + begin);
      begin += wanted_.size();
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
  const Units kept = choose_groups(work.dense.output, moments, task(each * config.head_dim, keep));
  if (groups) work.cut.kv_heads = kept;
  work.cut.heads = groups ? heads_of(config, kept) : kept;
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
  std::vector<ProjectionMoments> moments;
  if (shape_.size.channels < config.inner || method_.refits) {
    for (const FeedForward& expert : work.left.experts) moments.emplace_back(expert.contracting, follows);
  }
  for_each_batch([&](std::span<float> pruned, std::span<float> dense, const Sequences& sequences, bool fits) {
    if (!dense.empty()) {
      load_middle(dense, config.width, dense_activations_);
      forward_feed_forward(work.dense, dense_activations_, dense.data(), {});
    }
    if (moments.empty() || !fits) return;
    load_middle(pruned, config.width, activations_);
    wanted_.resize(sequences.tokens(), config.width);
    forward_feed_forward(work.left, activations_, wanted_.data(), {});
    if (follows) {
      copy_to(activations_.feed_forward_sum, own_);
      subtract_from(dense_activations_.feed_forward_sum, own_);
    }
    for (size_t e = 0; e < moments.size(); ++e) {
      const FeedForwardActivations& expert = activations_.experts[e];
      moments[e].add(expert.inner.data(), follows ? own_.data() : nullptr, expert.inner.rows(),
                     config.has_experts() ? expert.shares.data() : nullptr);
    }
  });
  for (size_t e = 0; e < moments.size(); ++e) cut_expert(work, e, moments[e]);
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

// Adam towards f dense + (1 - f) own, then the layer's inputs once more through what it became.
void StructuredPruner::train(Layer& work) {
  const auto size = size_t(text_.length * decoder_.config().width);
  for (size_t i = 0; i < targets_.size(); ++i)
    targets_[i] += float(follow_) * ((dense_.empty() ? targets_[i] : dense_[i]) - targets_[i]);
  const auto read = [&](int64_t s, float* x, float* t) {
    check_interrupted();
    std::ranges::copy(inputs_.subspan(size_t(s) * size, size), x);
    std::ranges::copy(targets_.subspan(size_t(s) * size, size), t);
  };
  ReconstructedLayer trained{.layer = work.left, .masks = {}};
  for (const Linear* linear : work.left.linears()) trained.masks.push_back(all_kept(linear->out, linear->in));
  ReconstructionOptions options;
  options.steps = options_.calibration.steps;
  options.trains_biases = true;
  const ReconstructionResult result =
      reconstruct_layers({&trained, 1}, rope_, {fit_, text_.length, read}, options);
  work.report.loss_before = result.error_before;
  work.report.loss_after = result.error_after;
  for (Linear* linear : work.left.linears()) store(work, *linear);
  std::ranges::copy(inputs_, pruned_.begin());
  for_each_batch([&](std::span<float> pruned, std::span<float>, const Sequences& sequences, bool) {
    forward_layer(work.left, rope_, sequences, pruned.data(), pruned.data(), activations_);
  });
}

// Rounds a layer's weights, and bias, to the types of the file, and keeps their bytes.
void StructuredPruner::store(Layer& work, Linear& linear) {
  const Cut cut{{work.cut}};
  const TensorCuts cuts(decoder_, cut);
  const auto keep = [&](const std::string& name, const View<float>& values, Orientation orientation) {
    const auto ref = decoder_.checkpoint().find(name);
    const TensorInfo& tensor = decoder_.checkpoint().tensor(*ref);
    const std::vector<std::byte> before = cut_bytes(decoder_.checkpoint().data(*ref), tensor.shape,
                                                    size_t(bits(tensor.dtype) / 8), cuts.of(name));
    std::vector<std::byte> after(before.size());
    TensorReport unused;
    store_matrix({tensor.dtype, orientation, before, after}, values, unused);
    changed_[name] = std::move(after);
  };
  keep(linear.weight_name, view(linear.weight.data(), linear.out, linear.in), linear.orientation);
  if (linear.bias.empty()) return;
  const std::string module = linear.weight_name.substr(0, linear.weight_name.rfind('.'));
  keep(module + ".bias", view(linear.bias.data(), 1, linear.out), Orientation::kOutIn);
}

double StructuredPruner::loss() {
  const int64_t width = decoder_.config().width;
  const std::span<float> hidden = pruned_.subspan(size_t(fit_ * text_.length * width));
  return text_loss(decoder_, text_.sequences(fit_, test_), text_.length, hidden.data());
}

}  // namespace prune
